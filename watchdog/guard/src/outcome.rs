//! The results of the self-test.

/// The result of the self-test of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The guard carried out the policy.
    Seen,
    /// The guard carried out the policy by other means than usual. The text names them.
    SeenBy(&'static str),
    /// The policy is `off`.
    Off,
    /// The guard carries out the policy as far as is known. The text says why no harmless test
    /// exists.
    NotTried(&'static str),
    /// The guard does not carry out the policy. The text says why.
    Missing(String),
}
