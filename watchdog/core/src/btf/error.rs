//! What cannot be learned from a kernel's type information.

/// What cannot be learned from BTF.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BtfError {
    /// It is no BTF, or cut off.
    #[error("the kernel's type information (BTF) is damaged")]
    Damaged,
    /// It has more types than its own format allows, or more bytes than any kernel's.
    #[error("the kernel's type information (BTF) is larger than any kernel's")]
    TooLarge,
    /// A structure takes too many steps to look through.
    #[error(
        "`struct {0}` in the kernel's type information (BTF) is nested too deeply or too large to \
         search"
    )]
    TooDeep(String),
    /// No such structure.
    #[error("this kernel has no `struct {0}`")]
    NoStruct(String),
    /// No such field.
    #[error("this kernel's `struct {0}` has no field `{1}`")]
    NoField(String, String),
    /// Several structures of that name differ.
    #[error("where `{1}` is in this kernel's `struct {0}` is ambiguous")]
    Ambiguous(String, String),
    /// The field has another size than this program reads.
    #[error("`{1}` in this kernel's `struct {0}` has {2} bytes, not {3}")]
    Size(String, String, u64, u64),
    /// A structure has another size than this program counts with.
    #[error("this kernel's `struct {0}` has {1} bytes, not {2}")]
    Whole(String, u64, u64),
    /// No such function.
    #[error("this kernel has no function `{0}` to attach to")]
    NoFunction(String),
    /// No such value of an enumeration, or one that is too large.
    #[error("this kernel's `enum {0}` has no usable `{1}`")]
    Enumerator(&'static str, &'static str),
    /// A function takes other parameters than this program relies on.
    #[error("this kernel's function `{0}` has {1} parameters, not {2}")]
    Parameters(String, usize, usize),
}
