//! How a preloaded shared library replaces functions of the C library: [`interpose!`] and the conventions of C results.
//!
//! The replacing functions are in the libraries: `fakecam`, `fakesys` and `fakedisk`.
use std::ffi::c_int;

#[doc(hidden)]
pub use libc;

/// What a call answers: a value or an errno.
pub type Answer<T = ()> = Result<T, c_int>;

/// The condition holds, or the call fails with `errno`.
///
/// # Errors
/// `errno`, when it does not hold.
pub fn ensure(holds: bool, errno: c_int) -> Answer {
    if holds { Ok(()) } else { Err(errno) }
}

/// The result as C expects it: a value, or -1 and `errno`.
pub fn answer(result: Answer<c_int>) -> c_int {
    result.unwrap_or_else(|errno| {
        // SAFETY: always a valid pointer to this thread's own errno.
        unsafe { *libc::__errno_location() = errno };
        -1
    })
}

/// `fn [name alias](arguments) -> result = |real| { body }` defines each of the names for the whole
/// process; `real` is the function so hidden.
///
/// Variadic functions (open, ioctl, fcntl) are written with their one optional argument: on the ABIs of
/// 64-bit Linux an absent one is a register nobody reads.
#[macro_export]
macro_rules! interpose {
    ($( fn [$($name:ident)+] $arguments:tt -> $result:ty = |$real:ident| $body:block )+) => {
        $($( $crate::interpose!(@one $name $arguments $result, $real, $body); )+)+
    };
    (@one $name:ident ($($argument:ident: $type:ty),*) $result:ty, $real:ident, $body:block) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($argument: $type),*) -> $result {
            static HIDDEN: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
            let $real = |$($argument: $type),*| {
                let name: *const std::ffi::c_char = concat!(stringify!($name), "\0").as_ptr().cast();
                // SAFETY: the name is a C string.
                let hidden = *HIDDEN.get_or_init(|| unsafe { $crate::libc::dlsym($crate::libc::RTLD_NEXT, name) } as usize);
                // SAFETY: libc's function of this name has this type; the arguments are our caller's.
                unsafe {
                    std::mem::transmute::<usize, unsafe extern "C" fn($($type),*) -> $result>(hidden)(
                        $($argument),*
                    )
                }
            };
            $body
        }
    };
}
