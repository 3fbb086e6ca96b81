//! refusals: weights, pixels, labels and settings that do not fit are refused by name.

use super::*;

#[test]
fn misfits_are_refused_by_name() {
    let refused = |result: anyhow::Result<Net>| format!("{:#}", result.err().expect("refused"));
    let net = |weights: &StateDict| Net::load(&SMALL, weights, CPU);
    let full = weights(&SMALL, Kind::Float);
    let with = |name: &str, tensor: Option<Tensor>| {
        let mut state: StateDict = full.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect();
        state.remove(name);
        state.extend(tensor.map(|tensor| (name.to_owned(), tensor)));
        state
    };
    let zeros = Tensor::zeros([3, 4], (Kind::Float, CPU));
    let message = refused(net(&with("classifier.1.weight", Some(zeros.shallow_clone()))));
    assert_eq!(message, "tensor classifier.1.weight has shape [3, 4], expected [4096, 256]");
    let message = refused(net(&with("features.4.bias", None)));
    assert_eq!(message, "tensor features.4.bias is missing (expected shape [256])");
    assert!(refused(net(&with("layer1.0.conv1.weight", Some(zeros)))).contains("another network"));
    let message = refused(Net::load(&NetShape { input: 62, ..SMALL }, &full, CPU));
    assert!(message.contains("The smallest input is 63 x 63"), "{message}");

    let sick = with("classifier.4.bias", Some(Tensor::full([4096], f64::NAN, (Kind::Float, CPU))));
    let message = format!("{:#}", net(&sick).unwrap().features(&pixels("p", 2, &SMALL), 2).unwrap_err());
    assert!(message.contains("2 of 2 images are not finite, the first at row 0"), "{message}");
    assert!(net(&full).unwrap().features(&[0; 5], 2).is_err());

    let (weight, bias) = head(10, Kind::Float);
    let trainer = |weights: &StateDict, options| {
        Trainer::new(&SMALL, weights, &StateDict::new(), (&weight, &bias), options, 0., CPU)
    };
    let message = format!(
        "{:#}",
        trainer(&sick, SgdOptions::default()).unwrap().step(&pixels("p", 8, &SMALL), &labels(0), 0).unwrap_err()
    );
    assert!(message.contains("the loss is NaN at step 1"), "{message}");
    let mut healthy = trainer(&full, SgdOptions::default()).unwrap();
    let message = format!("{:#}", healthy.step(&pixels("p", 1, &SMALL), &[PseudoLabel(10)], 0).unwrap_err());
    assert_eq!(message, "pseudo-label 10 has no place in a head of 10 outputs");
    assert!(trainer(&full, SgdOptions { lr: f64::NAN, ..SgdOptions::default() }).is_err());
}
