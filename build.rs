//! Has the linker call `src/kafka/leader_change.rs` where librdkafka would read what it has not written.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Other linkers do not know how.
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo::rustc-link-arg=-Wl,--wrap=rd_kafka_metadata_update_op");
    }
}
