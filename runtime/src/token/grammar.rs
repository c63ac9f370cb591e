//! Grammars over the tokens of a tokenizer: which may come next in a reply.
//!
//! A token may come if its bytes can: texts are what the grammar says, in any of the ways in which tokens spell them.

use std::rc::Rc;
use std::sync::Arc;

use align_compiler::world::{Constrained, Constraint, Grammar};
use llguidance::api::{GrammarWithLexer, StopReason, TopLevelGrammar};
use llguidance::toktrie::{InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};
use llguidance::{Matcher, ParserFactory};

use super::Tokenizer;

/// What no text holds stands before the names of special tokens.
const SPECIAL: u8 = TokTrie::SPECIAL_TOKEN_MARKER;
/// Clauses of others may be long: so many characters of them are said.
const SAID: usize = 300;

/// The tokens of a tokenizer, for grammars.
struct Tokens {
    trie: TokTrie,
}

impl Tokens {
    fn of(tokenizer: &dyn Tokenizer) -> Tokens {
        let stop = tokenizer.stop();
        let count = tokenizer.vocab_size().max(stop as usize + 1);
        let spelled = |id: u32| match tokenizer.token_bytes(id) {
            Some(bytes) if id != stop && bytes.first() != Some(&SPECIAL) => bytes,
            _ => [&[SPECIAL][..], format!("<{id}>").as_bytes()].concat(),
        };
        let words: Vec<Vec<u8>> = (0..count as u32).map(spelled).collect();
        Tokens { trie: TokTrie::from(&TokRxInfo::new(count as u32, stop), &words) }
    }
}

impl TokenizerEnv for Tokens {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, text: &[u8]) -> Vec<TokenId> {
        self.trie.greedy_tokenize(text)
    }

    /// No token is drawn for the policy.
    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}

/// A grammar that is read.
struct Ready {
    first: Matcher,
}

/// Reads a grammar, for replies of these tokens. The error is a clause.
pub fn ready(grammar: &Grammar, tokenizer: &dyn Tokenizer) -> Result<Rc<dyn Constraint>, String> {
    Grammars::of(tokenizer).ready(grammar)
}

/// Reads grammars for replies of the same tokens.
pub struct Grammars {
    tokens: TokEnv,
}

impl Grammars {
    pub fn of(tokenizer: &dyn Tokenizer) -> Grammars {
        Grammars { tokens: Arc::new(Tokens::of(tokenizer)) }
    }

    /// Reads one. The error is a clause.
    pub fn ready(&self, grammar: &Grammar) -> Result<Rc<dyn Constraint>, String> {
        ready_for(grammar, &self.tokens)
    }
}

fn ready_for(grammar: &Grammar, tokens: &TokEnv) -> Result<Rc<dyn Constraint>, String> {
    let grammar = match grammar {
        Grammar::Schema(text) => {
            let schema = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
            TopLevelGrammar::from_grammar(GrammarWithLexer::from_json_schema(schema))
        }
        Grammar::Pattern(text) => TopLevelGrammar::from_grammar(GrammarWithLexer::from_regex(text)),
    };
    let mut factory = ParserFactory::new(tokens, InferenceCapabilities::default(), &[]).map_err(clause)?;
    factory.quiet();
    factory.limits_mut().verbose_errors = false;
    let first = Matcher::new(factory.create_parser(grammar));
    match first.get_error() {
        Some(error) => Err(clause(error)),
        None => Ok(Rc::new(Ready { first })),
    }
}

/// What others say, on one line.
fn clause(error: impl std::fmt::Display) -> String {
    let said = error.to_string();
    let words: Vec<&str> = said.split_whitespace().filter(|word| *word != "<non-verbose/>").collect();
    words.join(" ").chars().take(SAID).collect()
}

/// How an error begins that says that no token can go on.
fn is_dead_end(error: &impl std::fmt::Display) -> bool {
    error.to_string().starts_with(&StopReason::NoExtensionBias.to_string())
}

impl Constraint for Ready {
    fn begin(&self) -> Box<dyn Constrained> {
        Box::new(Reply { matcher: self.first.deep_clone(), left: false })
    }
}

struct Reply {
    matcher: Matcher,
    /// A token came that was not allowed.
    left: bool,
}

impl Constrained for Reply {
    fn allowed(&mut self, tokens: &mut [bool]) -> Result<(), String> {
        tokens.fill(false);
        if self.left {
            return Ok(());
        }
        let mask = match self.matcher.compute_mask_or_eos() {
            Ok(mask) => mask,
            Err(error) if is_dead_end(&error) => {
                self.left = true;
                return Ok(());
            }
            Err(error) => return Err(clause(error)),
        };
        mask.iter_set_entries(|id| {
            if let Some(token) = tokens.get_mut(id) {
                *token = true;
            }
        });
        Ok(())
    }

    fn push(&mut self, token: u32) {
        if self.left {
            return;
        }
        let is_valid = self.matcher.validate_tokens(&[token]).is_ok_and(|count| count == 1);
        self.left = !is_valid || self.matcher.consume_token(token).is_err();
    }

    fn fork(&self) -> Box<dyn Constrained> {
        Box::new(Reply { matcher: self.matcher.clone(), left: self.left })
    }
}
