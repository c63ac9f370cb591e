//! Where nodes come from: an expression of the program, and the part of the net that it was traced in.

use std::sync::Arc;

use align_syntax::span::Span;

/// What the part of a net begins with that is not the one that is trained.
pub const FROZEN: &str = "frozen:";

/// A place in the text of a program or of the library.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The innermost expression that is not in `core`: a `softmax` stands where it is called.
    pub span: Span,
    /// The innermost expression of the program's own file.
    pub own: Option<Span>,
    /// The path of the part of the net whose method was traced, such as `blocks.3.attend`; empty outside of nets.
    /// Of a policy beside the one that is trained it begins with [`FROZEN`].
    pub part: String,
}

/// Where a node comes from. It is no part of what the node is: equal nodes may come from different places.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    /// `None`: no expression stands for it.
    pub place: Option<Arc<Place>>,
    /// It belongs to a derivative.
    pub backward: bool,
}

impl Origin {
    /// The origin of what a derivative adds for a node that comes from here.
    pub fn backward(&self) -> Origin {
        Origin { backward: true, ..self.clone() }
    }

    pub fn is_known(&self) -> bool {
        self.place.is_some()
    }

    /// The expression of the program's own file.
    pub fn own(&self) -> Option<Span> {
        self.place.as_ref().and_then(|place| place.own)
    }
}
