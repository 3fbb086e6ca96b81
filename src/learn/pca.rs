//! pca: PCA-whitening fitted to any number of rows in bounded memory, followed by L2 normalisation.

use super::eigen::{FEW, largest, largest_of_rows};
use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

/// Rows per product. Single precision adds this many squares; the sums of the products are in double.
const ROWS: usize = 2048;
/// Dimensions per block of the scatter matrix, of which only those on and above the diagonal are held.
const SIDE: usize = 512;
/// Share of the largest eigenvalue below which a direction counts as empty, and is not scaled up further.
const FLOOR: f64 = 1e-10;

/// Sum of the outer products of rows, as they come.
#[derive(Debug)]
pub struct Scatter {
    dims: usize,
    rows: u64,
    /// What is subtracted from every row, so that a mean far from 0 costs no precision.
    shift: Vec<f64>,
    /// Sum of the shifted rows.
    sum: Tensor,
    /// Blocks (i, i..) of the sum of outer products of the shifted rows, double.
    bands: Vec<Tensor>,
    /// Rows that are not yet in the sums. So these do not depend on how the rows came.
    pending: Vec<f32>,
}

/// A [`Scatter`] as plain numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct ScatterState {
    /// Rows in the sums.
    pub rows: u64,
    /// What is subtracted from every row; empty before the first sum.
    pub shift: Vec<f64>,
    /// Sum of the shifted rows, a number for each dimension.
    pub sum: Vec<f64>,
    /// The held blocks of the sum of outer products, one after the other.
    pub bands: Vec<f64>,
    /// Rows that are not yet in the sums.
    pub pending: Vec<f32>,
}

impl Scatter {
    /// Starts with no rows of `dims` numbers.
    pub fn new(dims: usize) -> Result<Self> {
        ensure!(dims > 0, "rows of 0 dimensions cannot be whitened");
        let double = (Kind::Double, Device::Cpu);
        let band = |from: usize| Tensor::f_zeros([SIDE.min(dims - from) as i64, (dims - from) as i64], double);
        Ok(Self {
            dims,
            rows: 0,
            shift: Vec::new(),
            sum: Tensor::f_zeros([dims as i64], double)?,
            bands: (0..dims).step_by(SIDE).map(band).collect::<Result<_, _>>()?,
            pending: Vec::new(),
        })
    }

    /// Numbers of a row.
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// Copies all of it.
    pub fn state(&self) -> Result<ScatterState> {
        let numbers = |tensor: &Tensor| Vec::<f64>::try_from(tensor.f_flatten(0, -1)?).context("sums");
        Ok(ScatterState {
            rows: self.rows,
            shift: self.shift.clone(),
            sum: numbers(&self.sum)?,
            bands: self.bands.iter().map(numbers).collect::<Result<Vec<_>>>()?.concat(),
            pending: self.pending.clone(),
        })
    }

    /// Continues from a state. Refuses one whose sizes do not fit each other.
    pub fn from_state(state: ScatterState) -> Result<Self> {
        let dims = state.sum.len();
        let mut scatter = Self::new(dims)?;
        let held: usize = scatter.bands.iter().map(Tensor::numel).sum();
        let shifted = if state.rows == 0 { 0 } else { dims };
        ensure!(
            state.bands.len() == held && state.shift.len() == shifted && state.pending.len().is_multiple_of(dims),
            "the sums of rows of {dims} numbers are of other sizes"
        );
        let mut rest = state.bands.as_slice();
        for band in &mut scatter.bands {
            let (here, behind) = rest.split_at(band.numel());
            *band = Tensor::f_from_slice(here)?.f_view(band.size().as_slice())?;
            rest = behind;
        }
        scatter.sum = Tensor::f_from_slice(&state.sum)?;
        Ok(Self { rows: state.rows, shift: state.shift, pending: state.pending, ..scatter })
    }

    /// How many rows were added.
    pub fn rows(&self) -> u64 {
        self.rows + (self.pending.len() / self.dims) as u64
    }

    /// Adds rows (n x dims, any n). Refuses a number that is not finite, and names its row, counted from the first
    /// added.
    pub fn add(&mut self, rows: &[f32]) -> Result<()> {
        ensure!(rows.len().is_multiple_of(self.dims), "{} numbers are no whole rows of {}", rows.len(), self.dims);
        if let Some(at) = rows.par_iter().position_first(|value| !value.is_finite()) {
            let row = self.rows() + (at / self.dims) as u64;
            bail!("row {row} has the value {} in dimension {}: features must be finite", rows[at], at % self.dims);
        }
        let (full, mut rows) = (ROWS * self.dims, rows);
        while !rows.is_empty() {
            let taken = rows.len().min(full - self.pending.len());
            self.pending.extend_from_slice(&rows[..taken]);
            rows = &rows[taken..];
            if self.pending.len() == full {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Adds what another one holds, whose rows come after these.
    pub fn merge(&mut self, mut other: Self) -> Result<()> {
        ensure!(self.dims == other.dims, "rows of {} and of {} numbers cannot be merged", self.dims, other.dims);
        self.flush()?;
        other.flush()?;
        if other.rows == 0 {
            return Ok(());
        }
        if self.rows == 0 {
            *self = other;
            return Ok(());
        }
        // (x + t)(x + t)' = xx' + xt' + tx' + tt', with t what the other one's shift has more.
        let more: Vec<f64> = other.shift.iter().zip(&self.shift).map(|(theirs, ours)| theirs - ours).collect();
        let more = Tensor::f_from_slice(&more)?;
        let crossed = other.sum.f_add(&more.f_mul_scalar(other.rows as f64)?)?;
        for (index, (band, theirs)) in self.bands.iter_mut().zip(&other.bands).enumerate() {
            let (from, height, width) = span(self.dims, index);
            let part = |vector: &Tensor, length| vector.f_narrow(0, from, length);
            let _ = band.f_add_(theirs)?;
            let _ = band.f_addr_(&part(&other.sum, height)?, &part(&more, width)?)?;
            let _ = band.f_addr_(&part(&more, height)?, &part(&crossed, width)?)?;
        }
        let _ = self.sum.f_add_(&crossed)?;
        self.rows += other.rows;
        Ok(())
    }

    /// Moves the pending rows into the sums.
    fn flush(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let (dims, count) = (self.dims, self.pending.len() / self.dims);
        if self.shift.is_empty() {
            self.shift = mean(&self.pending, dims);
        }
        let pending = std::mem::take(&mut self.pending);
        let rows = Tensor::f_from_slice(&shifted(&pending, &self.shift))?.f_view([count as i64, dims as i64])?;
        let _ = self.sum.f_add_(&rows.f_sum_dim_intlist(0, false, Kind::Double)?)?;
        for (index, band) in self.bands.iter_mut().enumerate() {
            let (from, height, width) = span(dims, index);
            let left = rows.f_narrow(1, from, height)?;
            let product = left.f_tr()?.f_matmul(&rows.f_narrow(1, from, width)?)?;
            let _ = band.f_add_(&product)?;
        }
        self.rows += count as u64;
        self.pending = pending;
        self.pending.clear();
        Ok(())
    }

    /// Fits a whitening to `dims_out` dimensions: each component is scaled by its eigenvalue to the `eigen_power`.
    ///
    /// Refuses fewer rows than `dims_out`. The published settings are 256 and -0.5.
    pub fn finish(mut self, dims_out: usize, eigen_power: f64) -> Result<Whitening> {
        check(self.rows(), self.dims, dims_out)?;
        ensure!(eigen_power.is_finite(), "eigen_power is {eigen_power}: a finite number is needed");
        let waiting = self.pending.len() / self.dims;
        if self.rows == 0 && waiting <= FEW.min(self.dims - 1) {
            return of_few_rows(&self.pending, self.dims, dims_out, eigen_power);
        }
        self.flush()?;
        let (dims, rows) = (self.dims as i64, self.rows as f64);
        let offset = self.sum.f_div_scalar(rows)?;
        let scatter = Tensor::f_zeros([dims, dims], (Kind::Double, Device::Cpu))?;
        for (index, band) in std::mem::take(&mut self.bands).into_iter().enumerate() {
            let (from, height, width) = span(self.dims, index);
            let mut place = scatter.f_narrow(0, from, height)?.f_narrow(1, from, width)?;
            place.f_copy_(&band)?;
            let (left, right) = (self.sum.f_narrow(0, from, height)?, offset.f_narrow(0, from, width)?);
            let _ = place.f_addr_(&left, &right.f_neg()?)?;
            let beyond = place.f_narrow(1, height, width - height)?;
            let mut mirror = scatter.f_narrow(0, from + height, width - height)?.f_narrow(1, from, height)?;
            mirror.f_copy_(&beyond.f_tr()?)?;
        }
        let found = largest(&scatter, dims_out)?;
        drop(scatter);
        let offset = Vec::<f64>::try_from(offset).context("mean")?;
        let mean = self.shift.iter().zip(&offset).map(|(shift, offset)| shift + offset).collect();
        let components = found.vectors.f_tr()?.f_contiguous()?;
        Whitening::new(mean, &Vec::<f64>::try_from(components.f_flatten(0, -1)?)?, found.values, eigen_power)
    }
}

/// The whitening of so few rows that the matrix of their products is smaller than their scatter matrix.
fn of_few_rows(rows: &[f32], dims: usize, dims_out: usize, eigen_power: f64) -> Result<Whitening> {
    let mean = mean(rows, dims);
    let centred: Vec<f64> = rows
        .chunks_exact(dims)
        .flat_map(|row| row.iter().zip(&mean).map(|(&value, mean)| f64::from(value) - mean))
        .collect();
    let shape = [(rows.len() / dims) as i64, dims as i64];
    let found = largest_of_rows(&Tensor::f_from_slice(&centred)?.f_view(shape)?, dims_out, FLOOR)?;
    let components = found.vectors.f_tr()?.f_contiguous()?;
    Whitening::new(mean, &Vec::<f64>::try_from(components.f_flatten(0, -1)?)?, found.values, eigen_power)
}

/// Says before anything is computed whether `rows` rows of `dims` numbers can be whitened to `dims_out`.
pub fn check(rows: u64, dims: usize, dims_out: usize) -> Result<()> {
    let most = rows.min(dims as u64);
    ensure!(dims_out > 0, "dims is 0: at least one dimension is needed");
    ensure!(
        dims_out as u64 <= most,
        "{rows} rows of {dims} numbers cannot be whitened to dims = {dims_out}: dims may be {most} at most"
    );
    Ok(())
}

/// First dimension, height and width of a band of the scatter matrix.
fn span(dims: usize, band: usize) -> (i64, i64, i64) {
    let from = band * SIDE;
    (from as i64, SIDE.min(dims - from) as i64, (dims - from) as i64)
}

fn mean(rows: &[f32], dims: usize) -> Vec<f64> {
    let mut sum = vec![0.0; dims];
    for row in rows.chunks_exact(dims) {
        sum.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    let count = (rows.len() / dims) as f64;
    sum.into_iter().map(|sum| sum / count).collect()
}

/// Rows less `shift`, subtracted in double.
fn shifted(rows: &[f32], shift: &[f64]) -> Vec<f32> {
    let mut shifted = vec![0.0; rows.len()];
    let pairs = shifted.par_chunks_mut(shift.len()).zip(rows.par_chunks(shift.len()));
    pairs.for_each(|(to, from)| {
        to.iter_mut().zip(from).zip(shift).for_each(|((to, &from), &shift)| *to = (f64::from(from) - shift) as f32);
    });
    shifted
}

/// A fitted projection: features (D numbers) in, vectors (d numbers of unit length) out.
#[derive(Clone, Debug, PartialEq)]
pub struct Whitening {
    /// D: the mean feature.
    pub mean: Vec<f64>,
    /// d x D: eigenvectors, each scaled by its eigenvalue to the eigen power.
    pub components: Vec<f32>,
    /// d, largest first, of the scatter matrix, which is not divided by the number of rows (as in faiss).
    pub eigenvalues: Vec<f64>,
}

impl Whitening {
    fn new(mean: Vec<f64>, vectors: &[f64], eigenvalues: Vec<f64>, power: f64) -> Result<Self> {
        // DIVERGES: faiss raises even a zero or negative eigenvalue, which gives Inf and NaN; here an empty direction is
        // scaled as if it held 1e-10 of the largest, so that it stays about 0.
        let floor = eigenvalues.first().map_or(0.0, |largest| largest * FLOOR);
        let scale = |value: f64| if floor > 0.0 { value.max(floor).powf(power) } else { 0.0 };
        let mut components = Vec::with_capacity(vectors.len());
        for (vector, &value) in vectors.chunks_exact(mean.len()).zip(&eigenvalues) {
            let scale = scale(value);
            components.extend(vector.iter().map(|entry| (entry * scale) as f32));
        }
        ensure!(
            components.iter().all(|entry| entry.is_finite()),
            "eigen_power {power} is beyond single precision here"
        );
        Ok(Self { mean, components, eigenvalues })
    }

    /// Length of a vector.
    pub fn dims_out(&self) -> usize {
        self.eigenvalues.len()
    }

    /// Projects `rows` (n x D) and normalises each to unit length into `out` (n x d). A row at the mean gives zeros.
    ///
    /// Refuses a row that is not finite, naming it.
    pub fn apply(&self, rows: &[f32], out: &mut [f32]) -> Result<()> {
        let (dims, dims_out) = (self.mean.len(), self.dims_out());
        let count = rows.len() / dims;
        ensure!(
            rows.len() == count * dims && out.len() == count * dims_out,
            "{} numbers cannot be whitened from {dims} to {dims_out} dimensions into {}",
            rows.len(),
            out.len()
        );
        let components = Tensor::f_from_slice(&self.components)?.f_view([dims_out as i64, dims as i64])?.f_tr()?;
        for (chunk, (rows, out)) in rows.chunks(ROWS * dims).zip(out.chunks_mut(ROWS * dims_out)).enumerate() {
            let shape = [(rows.len() / dims) as i64, dims as i64];
            let centred = Tensor::f_from_slice(&shifted(rows, &self.mean))?.f_view(shape)?;
            let projected = centred.f_matmul(&components)?;
            projected.f_copy_data(out, out.len())?;
            let whole = out.par_chunks_mut(dims_out).map(normalise).position_first(|finite| !finite);
            if let Some(row) = whole {
                bail!("row {} is not finite: features must be finite", chunk * ROWS + row);
            }
        }
        Ok(())
    }
}

/// Scales to unit length, or leaves zeros; says whether all was finite.
///
/// DIVERGES: the published code divides by the length as it is, which makes NaN of zeros.
fn normalise(vector: &mut [f32]) -> bool {
    let length = vector.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
    }
    length.is_finite()
}
