//! How much memory the state of a run may take: setting `memory_limit`.

use super::kinds::{Kind, bytes_up_to, show_bytes};
use super::section::{Findings, Section};

const NONE: &str = "none";

const LONGEST: usize = 1 << 44;

/// `512MiB`, or `none`.
const LIMIT: Kind<Option<usize>> = Kind {
    read: |text| match text {
        NONE => Ok(None),
        _ => {
            let mend = "write a number of bytes from 1 to 16384GiB, such as 512MiB or 4GiB, or none";
            bytes_up_to(text, LONGEST, mend).map(Some)
        }
    },
    show: |limit| limit.as_ref().map_or(NONE.to_owned(), show_bytes),
};

/// Reads `memory_limit`.
pub(super) fn read(root: &mut Section<'_>, limit: &mut Option<usize>, findings: &mut Findings) {
    root.read("memory_limit", &LIMIT, limit, findings);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_size_or_none() {
        for (text, limit) in [("none", None), ("512MiB", Some(512 << 20)), ("64GiB", Some(64 << 30))] {
            assert_eq!((LIMIT.read)(text), Ok(limit), "{text}");
            assert_eq!((LIMIT.show)(&limit), text);
        }
        for bad in ["0", "all", "", "-1MiB"] {
            assert!((LIMIT.read)(bad).is_err(), "{bad:?}");
        }
    }
}
