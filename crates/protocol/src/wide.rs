//! Functions compiled twice: for any x86-64 machine, and for its 256-bit vector registers where it has
//! them, which is asked at run time.
//!
//! Both forms are the same Rust code, and the compiler never contracts or reorders float operations, so
//! that they give the same bits.

/// Whether the machine has 256-bit registers for integers. Without the standard library nobody is asked.
#[must_use]
#[inline]
pub fn has_avx2() -> bool {
    #[cfg(all(feature = "std", target_arch = "x86_64"))]
    {
        std::is_x86_feature_detected!("avx2")
    }
    #[cfg(not(all(feature = "std", target_arch = "x86_64")))]
    {
        false
    }
}

/// Defines a function in both forms. What it calls has both as well where it is inlined into it.
#[macro_export]
macro_rules! wide {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$doc])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    body($($arg),*)
                }
                if $crate::wide::has_avx2() {
                    // SAFETY: the machine has the feature, which was just asked.
                    return unsafe { avx2($($arg),*) };
                }
            }
            body($($arg),*)
        }
    };
}
