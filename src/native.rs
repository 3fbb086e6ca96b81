use faiss::Index;
fn main() {
    let t = tch::Tensor::randn([4096, 4096], (tch::Kind::Float, tch::Device::Cpu));
    let s = std::time::Instant::now();
    let u = t.matmul(&t);
    println!("{:?} {}", s.elapsed(), u.double_value(&[0, 0]));
    let s = std::time::Instant::now();
    let u = t.matmul(&t);
    println!("{:?} {} GF", s.elapsed(), 2. * 4096f64.powi(3) / s.elapsed().as_secs_f64() / 1e9);
    let c = u.matmul(&u.tr()).to_kind(tch::Kind::Double);
    let s = std::time::Instant::now();
    let (w, _v) = c.linalg_eigh("L");
    println!("eigh {:?} {}", s.elapsed(), w.double_value(&[0]));
    let mut ix = faiss::index::flat::FlatIndex::new_l2(256).unwrap();
    let v: Vec<f32> = (0..1000 * 256).map(|i| ((i * 7919) % 1001) as f32 / 1000.).collect();
    ix.add(&v).unwrap();
    let q: Vec<f32> = (0..50000 * 256).map(|i| ((i * 7919) % 1003) as f32 / 1000.).collect();
    for _ in 0..3 {
        let s = std::time::Instant::now();
        let r = ix.search(&q, 1).unwrap();
        println!("faiss {:?} {} GF", s.elapsed(), 2. * 50000. * 1000. * 256. / s.elapsed().as_secs_f64() / 1e9);
        let _ = r.labels[0];
    }
}
