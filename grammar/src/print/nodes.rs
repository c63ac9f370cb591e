//! The nodes of the tree as lists, one function for each kind.

use super::Node;
use crate::ast::*;

fn word(text: impl Into<String>) -> Node {
    Node::Word(text.into())
}

fn quoted(text: &str) -> Node {
    word(format!("{text:?}"))
}

/// A list whose first word says what it is.
fn list(head: &str, parts: impl IntoIterator<Item = Node>) -> Node {
    Node::List(std::iter::once(word(head)).chain(parts).collect())
}

fn name(name: &Name) -> Node {
    word(&name.text)
}

/// A node with the documentation before it.
fn documented(docs: &Docs, node: Node) -> Node {
    match &docs[..] {
        [] => node,
        lines => list("doc", lines.iter().map(|line| quoted(line)).chain([node])),
    }
}

pub(super) fn item(item: &Item) -> Node {
    let node = match &item.kind {
        ItemKind::Import { path, names } => {
            let path: Vec<&str> = path.iter().map(|n| &*n.text).collect();
            list("use", std::iter::once(word(path.join("."))).chain(names.iter().map(name)))
        }
        ItemKind::Edition(year) => list("edition", [word(year.to_string())]),
        ItemKind::Param { name: n, ty: t, value, range } => {
            let range = range.as_ref().map(|r| list("in", [expr(r)]));
            list("param", [name(n)].into_iter().chain(t.as_ref().map(ty)).chain([expr(value)]).chain(range))
        }
        ItemKind::Record { name: n, generics: g, fields: f } => {
            list("record", [name(n)].into_iter().chain(generics(g)).chain(f.iter().map(field)))
        }
        ItemKind::Test { name, vectors, body } => {
            let vectors = vectors.as_ref().map(|(file, v)| list("vectors", [quoted(file), word(&v.text)]));
            list("test", [quoted(name)].into_iter().chain(vectors).chain(body.stmts.iter().map(stmt)))
        }
        ItemKind::Def(d) => def(d),
        ItemKind::Bind(b) => bind(b),
    };
    documented(&item.docs, node)
}

fn generics(generics: &[Generic]) -> Option<Node> {
    let part = |g: &Generic| match g {
        Generic::Pack(n) => word(format!("..{}", n.text)),
        Generic::Axis(n) | Generic::Type(n) => name(n),
    };
    (!generics.is_empty()).then(|| list("generics", generics.iter().map(part)))
}

fn field(f: &Field) -> Node {
    let parts = [name(&f.name), ty(&f.ty)].into_iter().chain(f.default.as_ref().map(expr));
    documented(&f.docs, Node::List(parts.collect()))
}

fn kind_word(kind: DefKind) -> String {
    format!("{kind:?}").to_lowercase()
}

fn def(d: &Def) -> Node {
    let clauses = d.clauses.iter().map(|c| match c {
        Clause::Per(n) => list("per", [name(n)]),
        Clause::Over(names) => list("over", names.iter().map(name)),
    });
    let result = d.result.as_ref().map(|t| list("->", [ty(t)]));
    let head = d.name.iter().map(name).chain(generics(&d.generics)).chain(d.params.iter().map(|p| params(p)));
    list(&kind_word(d.kind), head.chain(result).chain(clauses).chain(body(&d.body)))
}

fn body(body: &Body) -> Vec<Node> {
    match body {
        Body::Expr(e) => vec![expr(e)],
        Body::Block(b) => vec![block(b)],
    }
}

fn params(params: &[Param]) -> Node {
    list("params", params.iter().map(param))
}

fn param(p: &Param) -> Node {
    let node = match (&p.ty, &p.default) {
        (None, None) => pattern(&p.pattern),
        (t, default) => {
            let default = default.as_ref().map(|e| list("=", [expr(e)]));
            Node::List([pattern(&p.pattern)].into_iter().chain(t.as_ref().map(ty)).chain(default).collect())
        }
    };
    documented(&p.docs, node)
}

fn pattern(p: &Pattern) -> Node {
    match p {
        Pattern::Name(n) => name(n),
        Pattern::Tuple(parts, _) => list("tuple", parts.iter().map(pattern)),
    }
}

fn ty(t: &Type) -> Node {
    match &t.kind {
        TypeKind::Named { name: n, args } if args.is_empty() => name(n),
        TypeKind::Named { name: n, args } => {
            Node::List([name(n)].into_iter().chain(args.iter().map(type_arg)).collect())
        }
        TypeKind::Axes(args) => list("axes", args.iter().map(type_arg)),
        TypeKind::Shape(fields) => list("shape", fields.iter().map(field)),
        TypeKind::Tuple(types) => list("tuple", types.iter().map(ty)),
        TypeKind::Each(t, args) => list("each", [ty(t)].into_iter().chain(args.iter().map(type_arg))),
        TypeKind::Fn(from, to) => list("->", [ty(from), ty(to)]),
    }
}

fn type_arg(arg: &TypeArg) -> Node {
    match arg {
        TypeArg::Pack(n) => word(format!("..{}", n.text)),
        TypeArg::Sized(n, size) => list("sized", [name(n), expr(size)]),
        TypeArg::Type(t) => ty(t),
    }
}

fn block(b: &Block) -> Node {
    list("block", b.stmts.iter().map(stmt))
}

fn stmt(s: &Stmt) -> Node {
    let node = match &s.kind {
        StmtKind::Bind(b) => bind(b),
        StmtKind::Assign { target, value } => list("assign", [expr(target), expr(value)]),
        StmtKind::Method(m) => {
            let result = m.result.as_ref().map(|t| list("->", [ty(t)]));
            let head = [name(&m.name)].into_iter().chain(m.params.iter().map(|p| params(p)));
            list("method", head.chain(result).chain(body(&m.body)))
        }
        StmtKind::Command { word, args: a } => list(&word.text, args(a)),
        StmtKind::Def(d) => def(d),
        StmtKind::Expr(e) => expr(e),
    };
    documented(&s.docs, node)
}

fn bind(b: &Bind) -> Node {
    let word = format!("{:?}", b.word).to_lowercase();
    let binder = |binder: &Binder| {
        let target = match &binder.target {
            BindTarget::Pattern(p) => pattern(p),
            BindTarget::Path(words) => self::word(words.iter().map(|n| &*n.text).collect::<Vec<_>>().join(".")),
        };
        let value = binder.value.as_ref().map(|v| match v {
            BindValue::Is(e) => list("=", [expr(e)]),
            BindValue::Drawn(e) => list("~", [expr(e)]),
        });
        [target].into_iter().chain(binder.ty.as_ref().map(ty)).chain(value)
    };
    match &b.binders[..] {
        [one] => list(&word, binder(one)),
        more => list(&word, more.iter().map(|one| Node::List(binder(one).collect()))),
    }
}

fn slots(s: &Slots) -> Node {
    list("slots", s.lines.iter().map(slot_line))
}

fn slot_line(line: &SlotLine) -> Node {
    let node = match &line.kind {
        SlotKind::Bind(b) => bind(b),
        SlotKind::Each { count, body } => list("each", [expr(count), block(body)]),
        SlotKind::Slot { word, args: a, slots: inner } => {
            list(&word.text, args(a).into_iter().chain(inner.as_ref().map(slots)))
        }
    };
    documented(&line.docs, node)
}

fn args(a: &Args) -> Vec<Node> {
    let named = a.named.iter().map(|(n, e)| list(&format!("{}:", n.text), [expr(e)]));
    a.positional.iter().map(expr).chain(named).chain(a.trailing.as_ref().map(|e| list("last", [expr(e)]))).collect()
}

fn entries(fields: &[Entry]) -> impl Iterator<Item = Node> {
    fields.iter().map(|f| {
        let key = if f.quoted { format!("{:?}:", f.key.text) } else { format!("{}:", f.key.text) };
        list(&key, [expr(&f.value)])
    })
}

fn infix_word(op: InfixOp) -> &'static str {
    match op {
        InfixOp::Pipe => "|>",
        InfixOp::With => "with",
        InfixOp::Or => "or",
        InfixOp::And => "and",
        InfixOp::Eq => "==",
        InfixOp::Ne => "!=",
        InfixOp::Lt => "<",
        InfixOp::Le => "<=",
        InfixOp::Gt => ">",
        InfixOp::Ge => ">=",
        InfixOp::In => "in",
        InfixOp::Range => "..",
        InfixOp::Add => "+",
        InfixOp::Sub => "-",
        InfixOp::Join => "++",
        InfixOp::Mul => "*",
        InfixOp::Div => "/",
        InfixOp::Rem => "%",
        InfixOp::Pow => "^",
    }
}

fn over((p, xs): &(Pattern, Expr)) -> Node {
    list("in", [pattern(p), expr(xs)])
}

pub(super) fn expr(e: &Expr) -> Node {
    match &*e.kind {
        ExprKind::Int(n) => word(n.to_string()),
        ExprKind::Float(x) => word(format!("{x:?}")),
        ExprKind::Quantity(x, unit) => list("quantity", [word(x.to_string()), name(unit)]),
        ExprKind::Bool(b) => word(b.to_string()),
        ExprKind::Text(text) => quoted(text),
        ExprKind::Template(parts) => list(
            "template",
            parts.iter().map(|part| match part {
                TemplatePart::Text(text) => quoted(text),
                TemplatePart::Hole(e) => expr(e),
            }),
        ),
        ExprKind::Word(text) | ExprKind::TypeName(text) => word(text),
        ExprKind::Accessor(n) => word(format!(".{}", n.text)),
        ExprKind::List(parts) => list("list", parts.iter().map(expr)),
        ExprKind::Tuple(a) => list("tuple", args(a)),
        ExprKind::Paren(e) => list("paren", [expr(e)]),
        ExprKind::Fields(fields) => list("fields", entries(fields)),
        ExprKind::Make { name: n, fields } => list("make", [name(n)].into_iter().chain(entries(fields))),
        ExprKind::Block(b) => block(b),
        ExprKind::If { cond, then, otherwise } => {
            list("if", [expr(cond), expr(then)].into_iter().chain(otherwise.as_ref().map(expr)))
        }
        ExprKind::For { overs, body } => list("for", overs.iter().map(over).chain([block(body)])),
        ExprKind::Iterate { over: what, from, pattern: p, until, body } => {
            let what = match what {
                IterateOver::Count(n) => expr(n),
                IterateOver::In(p, xs) => list("in", [pattern(p), expr(xs)]),
            };
            let until = until.as_ref().map(|e| list("until", [expr(e)]));
            let head = [what, list("from", [expr(from)]), list("as", [pattern(p)])];
            list("iterate", head.into_iter().chain(until).chain([block(body)]))
        }
        ExprKind::Until { cond, body } => list("until", [expr(cond), block(body)]),
        ExprKind::Train { what, pattern: p, slots: s } => {
            let moving = p.as_ref().map(|p| list("as", [pattern(p)]));
            list("train", [expr(what)].into_iter().chain(moving).chain([slots(s)]))
        }
        ExprKind::Lambda { params: p, body } => list("=>", [params(p), expr(body)]),
        ExprKind::Prefix(PrefixOp::Neg, e) => list("neg", [expr(e)]),
        ExprKind::Prefix(PrefixOp::Not, e) => list("not", [expr(e)]),
        ExprKind::Infix { op, left, right, .. } => list(infix_word(*op), [expr(left), expr(right)]),
        ExprKind::OpenRange(e) => list("..", [expr(e)]),
        ExprKind::Cast { value, ty: t, fields } => {
            let fields = fields.as_ref().map(|f| list("fields", entries(f)));
            list("cast", [expr(value), ty(t)].into_iter().chain(fields))
        }
        ExprKind::Dot(e, n) => list("dot", [expr(e), name(n)]),
        ExprKind::Call(f, a) => list("call", [expr(f)].into_iter().chain(args(a))),
        ExprKind::Index(x, a) => list("index", [expr(x)].into_iter().chain(args(a))),
        ExprKind::Try(e) => list("?", [expr(e)]),
        ExprKind::Error => word("<error>"),
    }
}
