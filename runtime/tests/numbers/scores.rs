//! Token ids and log-probabilities of SmolLM2.

use align_runtime::engine::Cpu;
use align_runtime::score::Scorer;
use align_runtime::world::Files;

#[test]
fn log_probs_of_a_real_model() {
    let Some(model) = crate::smollm() else { return };
    let stored = crate::json("smollm2/logps.json");
    let engine = Cpu::new(2);
    let scorer = Scorer::open(&Files::new("."), &model, 2 << 30).unwrap_or_else(|error| panic!("{error}"));
    let mut far = 0.0f64;
    for item in stored["items"].as_array().unwrap() {
        let text = |name: &str| item[name].as_str().unwrap();
        let scored = scorer.score(&engine, text("prompt"), text("reply")).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(scored.prompt_ids, crate::ids(&item["prompt_ids"]));
        assert_eq!(scored.reply_ids, crate::ids(&item["reply_ids"]));
        let want: Vec<f64> = item["logps"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        assert_eq!(scored.logps.len(), want.len());
        far = scored.logps.iter().zip(&want).map(|(x, y)| (x - y).abs()).fold(far, f64::max);
    }
    println!("log-probs within {far:.1e}");
    assert!(far <= 1e-3, "{far}");
}
