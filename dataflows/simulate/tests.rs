//! What the simulations show, and that they can show it.

use std::time::{Duration, Instant};

use super::*;

/// How many simulations, or for how long: `SIMULATIONS=5000` or `=60s`; few by default.
fn wanted() -> (u64, Duration) {
    let text = std::env::var("SIMULATIONS").unwrap_or_default();
    match text.strip_suffix('s') {
        Some(seconds) => (u64::MAX, Duration::from_secs(seconds.parse().expect("SIMULATIONS=60s"))),
        None => (text.parse().unwrap_or(60), Duration::MAX),
    }
}

#[test]
fn killed_anywhere_it_leaves_what_an_undisturbed_run_leaves() {
    let simulator = Simulator::new(120).unwrap();
    let (most, limit) = wanted();
    let began = Instant::now();
    let mut told = Told::default();
    let mut done = 0;
    for seed in 0..most {
        if began.elapsed() > limit {
            break;
        }
        told.add(&simulator.run(seed, Plant::None).unwrap_or_else(|error| panic!("{error}")));
        done += 1;
    }
    println!("{done} simulations, {} deaths, {} steps, {:?}", told.deaths, told.steps, began.elapsed());
    assert!(told.deaths > done / 2, "{told:?}: too few died");
    assert!(told.open > 0, "{told:?}: none was stopped while results were open");
}

/// The first life dies before each of its steps in turn, the next ones as they are drawn: nothing lies between the steps that a seed
/// happens to choose. Some seeds, since each is of one log, one mode and one number of workers.
#[test]
fn killed_before_each_of_its_steps_it_leaves_what_an_undisturbed_run_leaves() {
    let simulator = Simulator::new(30).unwrap();
    // Few by default; every one where simulations are asked for.
    let apart = if std::env::var_os("SIMULATIONS").is_some() { 1 } else { 23 };
    for seed in 0..3 {
        let of = |step| simulator.run_to(seed, step, Plant::None).unwrap_or_else(|error| panic!("{error}"));
        let killed = (0..).step_by(apart).map_while(of).count();
        println!("seed {seed}: killed before {killed} of its steps, each {apart} apart");
        assert!(killed * apart > 50, "{killed}: a life has more steps");
    }
}

#[test]
fn seed_says_everything_that_happens() {
    let simulator = Simulator::new(60).unwrap();
    for seed in 0..6 {
        let [first, second] = [(); 2].map(|()| simulator.run(seed, Plant::None).unwrap());
        assert_eq!(first, second, "seed {seed}");
    }
}

#[test]
fn every_planted_bug_is_found() {
    let simulator = Simulator::new(80).unwrap();
    for plant in Plant::ALL {
        let found = (0..200).find_map(|seed| simulator.run(seed, plant).err());
        let found = found.unwrap_or_else(|| panic!("{plant:?} is not found"));
        println!("{plant:?}: {found}");
    }
}
