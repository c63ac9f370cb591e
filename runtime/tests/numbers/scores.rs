//! Token ids and log-probabilities of SmolLM2.

use align_runtime::engine::{Cpu, Engine};
use align_runtime::score::Scorer;
use align_runtime::world::Files;

/// Scores the stored texts of at most so many tokens: how far the log-probability of a token is from what is stored, at most.
fn farthest(model: &str, engine: &dyn Engine, longest: usize) -> f64 {
    let stored = crate::json("smollm2/logps.json");
    let scorer = Scorer::open(&Files::new("."), model, 2 << 30).unwrap_or_else(|error| panic!("{error}"));
    let (mut far, mut texts) = (0.0f64, 0);
    for item in stored["items"].as_array().unwrap() {
        let text = |name: &str| item[name].as_str().unwrap();
        let (prompt_ids, reply_ids) = (crate::ids(&item["prompt_ids"]), crate::ids(&item["reply_ids"]));
        if prompt_ids.len() + reply_ids.len() > longest {
            continue;
        }
        let scored = scorer.score(engine, text("prompt"), text("reply")).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((scored.prompt_ids, scored.reply_ids), (prompt_ids, reply_ids));
        let want: Vec<f64> = item["logps"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        assert_eq!(scored.logps.len(), want.len());
        far = scored.logps.iter().zip(&want).map(|(x, y)| (x - y).abs()).fold(far, f64::max);
        texts += 1;
    }
    println!("log-probs of {texts} texts within {far:.1e}");
    assert!(texts > 0, "there are such texts");
    far
}

#[test]
fn log_probs_of_a_real_model() {
    let Some(model) = crate::smollm() else { return };
    let far = farthest(&model, &Cpu::new(2), usize::MAX);
    assert!(far <= 1e-3, "{far}");
}

/// A short text alone, for the device may be software. On one that is not, all of them.
#[cfg(feature = "gpu")]
#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn log_probs_of_a_real_model_on_a_gpu() {
    let Some(model) = crate::smollm() else { return };
    let gpu = align_runtime::engine::graphics::Gpu::open(None).unwrap_or_else(|error| panic!("{error}"));
    let longest = if gpu.about().kind == "software" { 32 } else { usize::MAX };
    let far = farthest(&model, &gpu, longest);
    assert!(far <= 2e-3, "{far}");
}
