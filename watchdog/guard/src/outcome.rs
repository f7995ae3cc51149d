//! What the self-test finds of a path.

/// What became of the attempt on a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The policy was seen to be carried out.
    Seen,
    /// The same, by other means than usual: which.
    SeenBy(&'static str),
    /// Nothing is done about this path.
    Off,
    /// It is carried out as far as is known, and cannot be tried without harm: why.
    NotTried(&'static str),
    /// It is not carried out, or not by the guard: why.
    Missing(String),
}
