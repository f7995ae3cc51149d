//! Pointers to kernel structures: the macro behind each type of [`structures`](crate::structures).

use core::ffi::c_void;
use core::ptr::NonNull;

use aya_ebpf::helpers::generated::bpf_get_current_task_btf;

use crate::kernel::{self, Object};

/// A pointer to a kernel structure.
pub(crate) trait Structure: Sized {
    /// Makes a typed pointer of a pointer to this structure.
    fn of(pointer: Pointer) -> Self;

    /// Makes a typed pointer of an object; `None` for null.
    #[inline(always)]
    fn at(object: Object) -> Option<Self> {
        NonNull::new(object.cast_mut()).map(|it| Self::of(Pointer(it)))
    }
}

/// An untyped pointer, or a pointer to a structure without read fields.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Pointer(NonNull<c_void>);

impl Structure for Pointer {
    #[inline(always)]
    fn of(pointer: Pointer) -> Self {
        pointer
    }
}

impl Pointer {
    /// The current task, a `struct task_struct`.
    #[inline(always)]
    pub(crate) fn current_task() -> Self {
        // SAFETY: the helper takes nothing. There is always a current task.
        Self(unsafe { NonNull::new_unchecked(bpf_get_current_task_btf().cast()) })
    }

    /// The address.
    #[inline(always)]
    pub(crate) fn object(self) -> Object {
        self.0.as_ptr()
    }

    /// Reads the field at an offset.
    #[inline(always)]
    pub(crate) fn read<T>(self, offset: u32) -> Option<T> {
        kernel::read(self.object(), offset)
    }

    /// Reads a field that is a pointer to a structure.
    #[inline(always)]
    pub(crate) fn follow<T: Structure>(self, offset: u32) -> Option<T> {
        T::at(self.read(offset)?)
    }

    /// The structure that contains this one at an offset.
    #[inline(always)]
    pub(crate) fn around<T: Structure>(self, offset: u32) -> Option<T> {
        T::at(self.object().wrapping_byte_sub(offset as usize))
    }
}

/// Declares types of pointers to structures, each with its fields that are values, and its fields
/// that are pointers.
macro_rules! structures {
    ($(
        $(#[$doc:meta])*
        $name:ident { $($value:ident: $type:ty = $at:ident),* $(,)? }
        $(-> { $($pointer:ident: $to:ident = $pointer_at:ident),* $(,)? })?
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq)]
        #[repr(transparent)]
        pub(crate) struct $name($crate::pointer::Pointer);

        impl $crate::pointer::Structure for $name {
            #[inline(always)]
            fn of(pointer: $crate::pointer::Pointer) -> Self {
                Self(pointer)
            }
        }

        impl $name {
            $(
                #[inline(always)]
                pub(crate) fn $value(self) -> Option<$type> {
                    self.0.read($crate::kernel::offset!($at))
                }
            )*
            $($(
                #[inline(always)]
                pub(crate) fn $pointer(self) -> Option<$to> {
                    self.0.follow($crate::kernel::offset!($pointer_at))
                }
            )*)?
        }
    )*};
}
pub(crate) use structures;
