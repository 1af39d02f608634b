//! temporary
use tidegate_dataflows::replay::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let o = Options { fixture: a[1].clone().into(), out: a[2].clone().into(), cluster: tidegate::runtime::Cluster::threads(a[3].parse().unwrap()), pace: tidegate::runtime::Pace::Max, batch: BATCH, interleave: tidegate::ingest::Interleave::Aligned, activity: Default::default() };
    match replay(&o, &["activity"], &|_, _| ()) { Ok(s) => println!("{}", serde_json::to_string_pretty(&s).unwrap()), Err(e) => { eprintln!("error: {e}"); std::process::exit(1) } }
}
