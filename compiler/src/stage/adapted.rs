//! `policy with adapter("folder")`: a patch whose settings and weights a folder holds.
//!
//! Which patch it is says the table `adapters`, by the folder's `peft_type`: a function of the settings in its
//! `adapter_config.json`. The patch in turn says by its `adapter` with which settings it would be saved; where these are
//! others, the folder holds something that the patch is not.

use super::build::Builder;
use super::convert::{from_json, to_json};
use super::graph::StoredPatch;
use super::sources::place;
use super::words;
use crate::eval::value::{Applied, Foreign, Net, Value};
use crate::eval::{Call, Eval, Res, fault};
use crate::program::ADAPTERS;
use crate::world::Adapter;
use align_syntax::ast::DefKind;
use align_syntax::diag::{Diagnostic, did_you_mean};
use align_syntax::span::Span;
use serde_json::Value as Json;
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// An adapter's folder that was opened.
pub(super) struct Stored {
    path: String,
    folder: Rc<dyn Adapter>,
    span: Span,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "adapter({:?})", self.path)
    }
}

impl Foreign for Stored {
    fn kind(&self) -> String {
        "patch".into()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Builder<'_> {
    /// `adapter("folder")`
    pub(super) fn adapter(&self, eval: &mut Eval, call: &Call) -> Res<Value> {
        words::only(call, &[])?;
        let (path, span) = words::argument(eval, call, 0, "the folder of an adapter")?;
        let Some(path) = path.as_text() else {
            return fault("E0113", span, format!("the folder of an adapter is a Text, this is {}", path.kind()));
        };
        if let Some(message) = self.world.elsewhere(&path) {
            return Err(Box::new(Diagnostic::warning("W0714", span, message)));
        }
        let folder = self.world.adapter(&path).or_else(|message| fault("E0708", span, message))?;
        Ok(Value::Foreign(Rc::new(Stored { path: path.to_string(), folder, span })))
    }

    /// `load("folder")` of an adapter: the model that it names, with it.
    pub(super) fn adapted_model(&self, eval: &mut Eval, path: &str, folder: Rc<dyn Adapter>, span: Span) -> Res<Value> {
        let config = folder.config();
        let help = format!("say on which model it is put: `load(\"MODEL\") with adapter({path:?})`");
        let Some(base) = config["base_model_name_or_path"].as_str() else {
            let diagnostic =
                Diagnostic::error("E0708", span, format!("{path} is an adapter, and does not name its model"));
            return Err(Box::new(diagnostic.help(help)));
        };
        if let Some(message) = self.world.elsewhere(base) {
            return Err(Box::new(Diagnostic::warning("W0714", span, message)));
        }
        let model = self.world.model(base).map_err(|message| {
            let (name, why) = (shortened(base), cut(&message, 400));
            let message = format!("{path} is an adapter of {name}, which cannot be loaded: {why}");
            Box::new(Diagnostic::error("E0708", span, message).help(help))
        })?;
        let net = self.model(eval, base, model, span)?;
        self.with_stored(eval, &net, &Stored { path: path.to_string(), folder, span }, span)
    }

    /// A policy with what a folder holds.
    pub(super) fn with_stored(&self, eval: &mut Eval, net: &Rc<Net>, stored: &Stored, span: Span) -> Res<Value> {
        let config = stored.folder.config();
        // What the settings make impossible is the folder's fault, not that of the code which reads them.
        let blamed = |error: Box<Diagnostic>| match error.code.starts_with("E07") {
            true => error,
            false => {
                let message = format!("{}: its settings make no patch: {}", stored.path, error.message);
                Box::new(Diagnostic::error("E0708", stored.span, message))
            }
        };
        let net = &super::nets::with_all(eval, net.clone(), &stored.folder.with(), span).map_err(blamed)?;
        let applied = self.patch_of(eval, stored, &config).map_err(blamed)?;
        let alone = eval.patch_alone(net, &applied, span).map_err(blamed)?;
        if let Some(said) = eval.patch_setting(&alone, "adapter").map_err(blamed)? {
            agrees(stored, &config, &said)?;
        }
        let tensors: BTreeMap<String, Vec<usize>> = stored.folder.tensors().into_iter().collect();
        let adapted = eval.adapted(net, &applied, &tensors, span).map_err(blamed)?;
        let folder = StoredPatch { path: stored.path.clone(), folder: stored.folder.clone(), changed: adapted.changed };
        self.state.borrow_mut().nets[place(adapted.net.source)].stored = Some(folder);
        Ok(Value::Net(adapted.net))
    }

    /// The patch that the settings of a folder describe.
    fn patch_of(&self, eval: &mut Eval, stored: &Stored, config: &Json) -> Res<Rc<Applied>> {
        let (path, span) = (&stored.path, stored.span);
        let Some(kind) = config["peft_type"].as_str() else {
            return fault("E0708", span, format!("{path}: adapter_config.json has no `peft_type`"));
        };
        let main = self.program.main();
        let Some(Value::Map(table)) =
            self.program.lookup(main, ADAPTERS).map(|_| eval.word(ADAPTERS, span, &eval.top(main))).transpose()?
        else {
            return fault(
                "E0113",
                span,
                format!("`{ADAPTERS}` is a Map from names of adapters to functions of settings"),
            );
        };
        let known: Vec<Rc<str>> = table.iter().filter_map(|(name, _)| name.as_text()).collect();
        let Some((_, make)) = table.iter().find(|(name, _)| name.as_text().as_deref() == Some(kind)) else {
            let kind = shortened(kind);
            let message = format!("{path} holds an adapter of the type {kind}; known are {}", known.join(", "));
            let diagnostic = Diagnostic::error("E0708", span, message);
            return Err(Box::new(match did_you_mean(&kind, known.iter().map(|name| &**name)) {
                Some(near) => diagnostic.meant(near),
                None => {
                    diagnostic.help(format!("`let {ADAPTERS} = {{ {kind:?}: settings => .. }}` in the program adds it"))
                }
            }));
        };
        match eval.call_value(make, vec![from_json(config)], span)? {
            Value::Applied(applied) if applied.code.def.kind == DefKind::Net => Ok(applied),
            other => fault("E0113", span, format!("`{ADAPTERS}` gives a patch, this is {}", other.kind())),
        }
    }
}

/// What the patch says of itself is what the folder says.
fn agrees(stored: &Stored, config: &Json, said: &Value) -> Res<()> {
    let Some(Json::Object(said)) = to_json(said) else { return Ok(()) };
    for (name, own) in &said {
        let there = config.get(name).unwrap_or(own);
        if !same(there, own) {
            let message =
                format!("{}: `{name}` is {}, the patch that is made of it has {own}", stored.path, shown(there));
            let diagnostic = Diagnostic::error("E0708", stored.span, message);
            return Err(Box::new(diagnostic.help("an adapter with this setting cannot be read")));
        }
    }
    Ok(())
}

/// Whether two settings mean the same: numbers by value, nothing as an empty list.
fn same(a: &Json, b: &Json) -> bool {
    let nothing = |value: &Json| match value {
        Json::Null => true,
        Json::Array(list) => list.is_empty(),
        Json::Object(fields) => fields.is_empty(),
        _ => false,
    };
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b || nothing(a) && nothing(b),
    }
}

/// A setting in a message.
fn shown(value: &Json) -> String {
    shortened(&value.to_string())
}

fn shortened(text: &str) -> String {
    cut(text, 60)
}

/// At most so many characters.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}
