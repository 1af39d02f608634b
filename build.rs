//! Has the linker call `src/kafka/leader_change.rs` of `tidegate` where librdkafka would read what it has not written.

fn main() {
    // Nothing else: the script itself is looked at anyway, wherever the package is that it is built for.
    println!("cargo::rerun-if-env-changed=CARGO_CFG_TARGET_OS");
    // Other linkers do not know how.
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo::rustc-link-arg=-Wl,--wrap=rd_kafka_metadata_update_op");
    }
}
