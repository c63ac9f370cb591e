//! A line for each request that is over.

use std::time::Instant;

use super::answer::Answer;
use super::ask::Kind;
use super::now;
use super::problem::Problem;
use crate::print::outln;

/// What is known of a request. It is printed when it is dropped: where nothing ended it, its client went away.
pub struct Line {
    is_wanted: bool,
    kind: Kind,
    model: String,
    began: Instant,
    end: Option<String>,
}

impl Line {
    pub fn new(is_wanted: bool, kind: Kind) -> Line {
        Line { is_wanted, kind, model: "-".into(), began: Instant::now(), end: None }
    }

    pub fn model(&mut self, name: &str) {
        self.model = name.chars().take(24).collect();
    }

    pub fn ended(&mut self, answer: &Answer) {
        let Answer { prompt_tokens, tokens, .. } = answer;
        self.end = Some(format!("{prompt_tokens} + {tokens} tokens, {}", answer.reason().unwrap_or_default()));
    }

    pub fn failed(&mut self, problem: &Problem) {
        self.end = Some(format!("{} {}", problem.status, problem.code.unwrap_or("error")));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.is_wanted {
            let kind = if self.kind == Kind::Chat { "chat" } else { "text" };
            let (second, taken) = (now() % 86_400, self.began.elapsed().as_secs_f64());
            let at = format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
            let end = self.end.as_deref().unwrap_or("the client went away");
            outln!("{at} {} {kind}: {end}, {taken:.2} s", self.model);
        }
    }
}
