//! A way around a fault of librdkafka (2.12.1, <https://github.com/confluentinc/librdkafka/issues/5280>).
//!
//! Since KIP-951 a broker says in its answers who leads a partition now. Where it says that nobody does, as it does for a moment
//! when it has been started again, librdkafka counts the partition, leaves its entry as the memory happened to be, and reads and
//! writes by what stands there: the process dies. So these hints are not taken (`build.rs` has the linker put this in place of
//! what would take them): who leads is asked for once more, as after an answer of a broker before Kafka 3.7.

use std::ffi::{c_int, c_void};

/// `RD_KAFKA_OP_RES_HANDLED`
const HANDLED: c_int = 1;

/// In place of `rd_kafka_metadata_update_op`: what it is given is freed by the caller.
#[unsafe(no_mangle)]
extern "C" fn __wrap_rd_kafka_metadata_update_op(_client: *mut c_void, _hints: *mut c_void) -> c_int {
    HANDLED
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    unsafe extern "C" {
        fn rd_kafka_metadata_update_op(client: *mut c_void, hints: *mut c_void) -> c_int;
    }

    #[test]
    fn hints_about_leaders_are_not_read() {
        let nothing = std::ptr::null_mut();
        // SAFETY: by the linker this is the function above, which looks at nothing. If it were not, the test would die here.
        assert_eq!(unsafe { rd_kafka_metadata_update_op(nothing, nothing) }, HANDLED);
    }
}
