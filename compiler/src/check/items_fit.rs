//! Whether the items of a stage have what its losses and rewards read.

use super::axes::listed;
use super::fits::{Fit, differ, fit};
use super::ops::article;
use super::scope::Scope;
use super::types::{Fun, LossUse, Record, Type};
use super::{Capture, Checker};
use align_syntax::ast::{DefKind, Param, Pattern};
use align_syntax::diag::{Diagnostic, did_you_mean};
use align_syntax::span::Span;
use std::rc::Rc;

impl<'p> Checker<'p> {
    /// A loss takes the nets that are trained as its first parameters; those that are more are settings.
    pub fn nets_fit(&mut self, used: &LossUse, trained: &[Type]) {
        let Some((item, def)) = used.item.and_then(|i| Some((i, self.def(i)?))) else { return };
        let params: &'p [Param] = def.params.first().map_or(&[], |p| p);
        let nets = self.roles(def, item.file).nets.len();
        if nets == 0 {
            return;
        }
        let roles = trained.iter().zip(params).take(nets).filter(|(net, _)| matches!(net, Type::Net(_)));
        let own = Scope::new(super::call::body_of(def.kind, item.file));
        for (net, param) in roles {
            let Pattern::Name(name) = &param.pattern else { continue };
            let want = self.written(param, own.clone());
            self.fits(&format!("`{}`", used.name), &name.text, used.at, (net, &want));
        }
        let trained = trained.len();
        if nets < trained {
            let error = Diagnostic::error(
                "E0128",
                used.at,
                format!(
                    "`{}` trains {}, but {trained} are trained here",
                    used.name,
                    if nets == 1 { "one net" } else { "fewer nets" }
                ),
            );
            return self.report(error.help("Give each its own loss: `update actor { loss ..; optimizer .. }`."));
        }
        for param in &params[trained.min(nets)..nets] {
            let Pattern::Name(name) = &param.pattern else { continue };
            if param.default.is_none() && !used.given.iter().any(|g| g.0 == name.text) {
                let error = Diagnostic::error("E0111", used.at, format!("`{}` needs `{}`", used.name, name.text))
                    .here(format!("{trained} net is trained here, and it takes {nets}"));
                self.report(error.help(format!("Give it: `{}({}: ..)`.", used.name, name.text)));
            }
        }
    }

    /// Compares what a loss or reward reads with the items of its stage; notes what it takes by name.
    pub fn item_fits(&mut self, used: &LossUse, item: &Type) {
        let Some((of_item, def)) = used.item.and_then(|i| Some((i, self.def(i)?))) else { return };
        let params: &'p [Param] = def.params.first().map_or(&[], |p| p);
        let roles = self.roles(def, of_item.file);
        let own = Scope::new(super::call::body_of(def.kind, of_item.file));
        let word = if def.kind == DefKind::Loss { "loss" } else { "reward" };
        let (element, group) = match item {
            Type::Each(of, _) => ((**of).clone(), true),
            // Fields `each sample` make a record a group.
            Type::Record(record) if record.is_group() => (item.clone(), true),
            other => (other.clone(), false),
        };
        for (i, param) in params.iter().enumerate() {
            let Pattern::Name(name) = &param.pattern else { continue };
            let declared = self.written(param, own.clone());
            if let Some((_, ty, at)) = used.given.iter().find(|g| g.0 == name.text) {
                self.setting_of_item(used, (&name.text, *at), ty, &declared, &element);
                continue;
            }
            if roles.item == Some(i) {
                self.whole_item(used, (&element, group), &declared);
                continue;
            }
            if roles.given(i) || param.default.is_some() {
                continue;
            }
            let offered = ["progress", "step"].contains(&name.text.as_str());
            let from = if offered { format!("stage.{}", name.text) } else { format!("item.{}", name.text) };
            self.out.captures.push(Capture {
                at: used.at,
                of: format!("{word} {}", used.name),
                param: name.text.clone(),
                from,
            });
            let Type::Record(record) = &element else { continue };
            match record.get(&name.text) {
                Some(found) => {
                    if differ(found, &declared) {
                        let message = format!("`{}` of `{}` is {}", name.text, used.name, article(&declared));
                        let error = Diagnostic::error("E0113", used.at, message)
                            .here(format!("it is taken from the item, whose field is {}", article(found)));
                        self.report(error);
                    }
                }
                None if record.open || offered => {}
                None => {
                    let error = Diagnostic::error("E0111", used.at, format!("`{}` needs `{}`", used.name, name.text))
                        .here("the items have no field of that name to take it from");
                    self.report(error.help(field_help(&used.name, &name.text, record, &declared)));
                }
            }
        }
    }

    /// A setting such as `.answer`: the item must have the field, and of the right type.
    pub fn setting_of_item(
        &mut self,
        used: &LossUse,
        (param, at): (&str, Span),
        ty: &Type,
        declared: &Type,
        element: &Type,
    ) {
        let (Type::Fn(Fun::Accessor(path)), Type::Record(record)) = (ty, element) else { return };
        match record.get(&path[0]) {
            Some(found) if path.len() == 1 && matches!(fit(found, declared), Fit::No) && differ(found, declared) => {
                let message = format!("`{param}` of `{}` is {}", used.name, article(declared));
                let error = Diagnostic::error("E0113", at, message);
                self.report(error.here(format!("the field `{}` is {}", path[0], article(found))));
            }
            Some(_) => {}
            None if record.open => {}
            None => {
                let error = Diagnostic::error("E0120", at, format!("the items have no field `{}`", path[0]))
                    .here(format!("`{}` reads it", used.name));
                self.report(match did_you_mean(&path[0], record.names()) {
                    Some(near) => error.meant(format!(".{near}")),
                    None => error.help(format!("They have {}.", listed(&record.names().collect::<Vec<_>>()))),
                });
            }
        }
    }

    /// The items must have the fields of the record that a loss takes.
    pub fn whole_item(&mut self, used: &LossUse, (element, group): (&Type, bool), declared: &Type) {
        let wants_group = matches!(declared, Type::Each(..));
        let fields: &Type = declared.element();
        let of_data = matches!(element, Type::Record(record) if wants_group && record.is_group());
        let element = &match element {
            Type::Record(record) if of_data => Type::Record(Rc::new(record.of_a_sample())),
            other => other.clone(),
        };
        let error = match fit(element, fields) {
            // A `Group` may be one that was not sampled: which fields the loss reads of it is seen when it is traced.
            Fit::LacksFields(_) if of_data => return,
            Fit::LacksFields(lacking) if group || !wants_group => {
                Diagnostic::error("E0128", used.at, format!("`{}` reads {} of its items", used.name, listed(&lacking)))
                    .here(format!("the items are {}, which has no {}", article(element), listed(&lacking)))
            }
            Fit::No if !group && !wants_group => {
                Diagnostic::error("E0128", used.at, format!("`{}` takes items of type {}", used.name, fields))
                    .here(format!("the items are {}", article(element)))
            }
            _ if wants_group && !group && matches!(element, Type::Record(r) if !r.open) => {
                let error = Diagnostic::error("E0128", used.at, format!("`{}` is a loss of groups", used.name))
                    .here(format!("the items are {}: one each", article(element)));
                error.help("A group is several replies to one prompt: `data |> sample(p, n: 8) |> score(reward)`.")
            }
            _ => return,
        };
        self.report(error);
    }
}

fn field_help(of: &str, param: &str, record: &Record, declared: &Type) -> String {
    let fitting: Vec<&str> = record
        .fields
        .iter()
        .filter(|(_, t)| std::mem::discriminant(t.element()) == std::mem::discriminant(declared.element()))
        .map(|(n, _)| n.as_str())
        .collect();
    match fitting[..] {
        [] => format!("Give it: `{of}({param}: ..)`."),
        [one] => format!("Say which field: `{of}(.{one})`."),
        [first, ..] => format!("Say which field: `{of}(.{first})`; the items have {}.", listed(&fitting)),
    }
}
