//! Errors of lookups in a kernel's type information.

/// Why BTF cannot be parsed, or a lookup in it failed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BtfError {
    /// The bytes are not BTF, or are cut off.
    #[error("the kernel's type information (BTF) is damaged")]
    Damaged,
    /// There are more types than the format allows, or more bytes than any kernel has.
    #[error("the kernel's type information (BTF) is larger than any kernel's")]
    TooLarge,
    /// The search through a structure takes too many steps.
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
    /// The field has another size than this program expects.
    #[error("`{1}` in this kernel's `struct {0}` has {2} bytes, not {3}")]
    Size(String, String, u64, u64),
    /// A structure has another size than this program expects.
    #[error("this kernel's `struct {0}` has {1} bytes, not {2}")]
    Whole(String, u64, u64),
    /// No such function.
    #[error("this kernel has no function `{0}` to attach to")]
    NoFunction(String),
    /// No such value of an enumeration, or one that is too large.
    #[error("this kernel's `enum {0}` has no usable `{1}`")]
    Enumerator(&'static str, &'static str),
    /// A function has another number of parameters than this program expects.
    #[error("this kernel's function `{0}` has {1} parameters, not {2}")]
    Parameters(String, usize, usize),
}
