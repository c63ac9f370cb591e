//! Replies that a stage has drawn, as the store keeps them.

use align_compiler::stage::sample::{Ask, DrawnReply, SampleStage, Wanted};
use serde_json::{Value, json};

use crate::generate::{Drawn, Request};
use crate::store::Kept;

const TOKENS: &str = "tokens";
const LOGPS: &str = "logps";

/// Prompts as the generator takes them; `rows` key their draws.
pub fn requests(asks: &[Ask], rows: impl Iterator<Item = u64>, wanted: &Wanted) -> Vec<Request> {
    let request = |(ask, row): (&Ask, u64)| Request {
        prompt: ask.prompt.clone(),
        begin: ask.begin.clone(),
        n: wanted.replies(),
        row,
        max_tokens: wanted.max_tokens,
        stop: wanted.stop.clone(),
    };
    asks.iter().zip(rows).map(request).collect()
}

/// What the generator drew, as rows have it.
pub fn replies(asks: &[Ask], drawn: Vec<Vec<Drawn>>) -> Vec<Vec<DrawnReply>> {
    let reply = |ask: &Ask, drawn: Drawn| {
        let given = ask.begin.iter().map(|_| 0.0);
        let logps = given.chain(drawn.logps).collect();
        DrawnReply { logps, tokens: drawn.tokens, finished: drawn.finished, observed: vec![] }
    };
    let of = |(ask, drawn): (&Ask, Vec<Drawn>)| drawn.into_iter().map(|drawn| reply(ask, drawn)).collect();
    asks.iter().zip(drawn).map(of).collect()
}

/// Arrays by name, and the rest.
pub fn kept(replies: &[Vec<DrawnReply>]) -> ([(&'static str, Vec<f32>); 2], Value) {
    let all = || replies.iter().flatten();
    // Ids of tokens are numbers that f32 holds.
    let tokens = all().flat_map(|reply| &reply.tokens).map(|id| *id as f32).collect();
    let logps = all().flat_map(|reply| &reply.logps).copied().collect();
    let value = json!({
        "replies": replies.iter().map(Vec::len).collect::<Vec<_>>(),
        "lengths": all().map(|reply| reply.tokens.len()).collect::<Vec<_>>(),
        "finished": all().map(|reply| reply.finished).collect::<Vec<_>>(),
    });
    ([(TOKENS, tokens), (LOGPS, logps)], value)
}

/// What [`kept`] made; nothing if it is something else.
pub fn of_kept(kept: &Kept) -> Option<Vec<Vec<DrawnReply>>> {
    let array = |name: &str| kept.arrays.iter().find(|(array, _)| array == name).map(|(_, values)| &values[..]);
    let list = |name: &str| kept.value[name].as_array();
    let (mut tokens, mut logps) = (array(TOKENS)?, array(LOGPS)?);
    let mut lengths = list("lengths")?.iter();
    let mut finished = list("finished")?.iter();
    let mut all = vec![];
    for count in list("replies")? {
        let mut group = vec![];
        for _ in 0..count.as_u64()? {
            let length = usize::try_from(lengths.next()?.as_u64()?).ok()?;
            let (own, rest) = tokens.split_at_checked(length)?;
            let (own_logps, rest_logps) = logps.split_at_checked(length)?;
            (tokens, logps) = (rest, rest_logps);
            let ids = own.iter().map(|id| *id as u32).collect();
            let finished = finished.next()?.as_bool()?;
            group.push(DrawnReply { tokens: ids, logps: own_logps.to_vec(), finished, observed: vec![] });
        }
        all.push(group);
    }
    (tokens.is_empty() && logps.is_empty()).then_some(all)
}

/// Tokens that a stage draws at most.
pub fn most_tokens(node: &SampleStage) -> u64 {
    (node.asks.len() * node.wanted.replies() * node.wanted.max_tokens) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back() {
        let reply = |tokens: &[u32], finished| DrawnReply {
            tokens: tokens.to_vec(),
            logps: tokens.iter().map(|id| -0.1 * *id as f32).collect(),
            finished,
            observed: vec![],
        };
        let all = vec![vec![reply(&[1, 2, 49_151], true), reply(&[], false)], vec![reply(&[7], false)]];
        let (arrays, value) = kept(&all);
        let arrays = arrays.map(|(name, values)| (name.to_string(), values)).to_vec();
        assert_eq!(of_kept(&Kept { arrays, value }), Some(all));
    }
}
