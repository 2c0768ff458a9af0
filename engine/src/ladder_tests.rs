use super::*;

const BUDGET: Budget = Budget { frame: Duration::from_millis(30), latency: Duration::from_millis(50) };

fn micros(us: f64) -> Duration {
    Duration::from_secs_f64(us / 1e6)
}

/// What the rungs cost on a free machine, ms; the working size is 256.
fn free(rung: Rung) -> f64 {
    match rung {
        Rung::FourSteps => 40.0,
        Rung::TwoSteps => 22.0,
        Rung::OneStep => 13.0,
        Rung::OneStep192 => 9.0,
        Rung::OneStep128 | Rung::Lead => 6.5,
        Rung::Puppet | Rung::HalfRate | Rung::Idle => 4.0,
    }
}

fn run(ladder: &mut Ladder, frames: u32, cost_ms: impl Fn(Rung) -> f64) -> Vec<Rung> {
    (0..frames)
        .map(|_| {
            let rung = ladder.rung();
            ladder.record(micros(cost_ms(rung) * 1e3));
            rung
        })
        .collect()
}

fn changes(rungs: &[Rung]) -> usize {
    rungs.windows(2).filter(|w| w[0] != w[1]).count()
}

#[test]
fn under_load_it_goes_where_it_fits_within_half_a_second_and_comes_back_when_the_load_ends() {
    for slowdown in [1.5, 2.0, 3.0, 5.0] {
        let mut ladder = Ladder::new(Rung::TwoSteps, 256, BUDGET);
        ladder.set_costs(&Rung::ALL.map(|r| Some(micros(free(r) * 1e3))));
        run(&mut ladder, 60, free);
        assert_eq!(ladder.rung(), Rung::TwoSteps);
        let loaded = run(&mut ladder, 150, |r| slowdown * free(r));
        let late: Vec<f64> = loaded.iter().map(|r| slowdown * free(*r)).filter(|ms| *ms > 30.0).collect();
        assert!(late.iter().sum::<f64>() < 500.0, "{slowdown}: late frames of {late:?} ms");
        assert!(changes(&loaded) <= 3, "{slowdown}: {loaded:?}");
        let after = run(&mut ladder, 150, free);
        assert_eq!(*after.last().unwrap(), Rung::TwoSteps, "{slowdown}: back within five seconds");
        assert!(changes(&after) <= 3, "{slowdown}: {after:?}");
    }
}

#[test]
fn a_load_that_comes_in_bursts_is_not_taken_for_a_free_machine_and_its_end_is() {
    let mut ladder = Ladder::new(Rung::FourSteps, 128, BUDGET);
    let half = |r| if r == Rung::FourSteps { 20.0 } else { free(r) / 2.0 };
    ladder.set_costs(&Rung::ALL.map(|r| Some(micros(half(r) * 1e3))));
    let mut n = 0;
    let loaded: Vec<Rung> = (0..300)
        .map(|_| {
            n += 1;
            let rung = ladder.rung();
            // Two programs take the processor by turns: a stretch of slow frames, one of quick ones with a slow one among them.
            let slow = n % 40 < 12 || n % 40 == 30;
            ladder.record(micros(half(rung) * if slow { 2.6 } else { 1.1 } * 1e3));
            rung
        })
        .collect();
    assert!(changes(&loaded) <= 10, "{} changes in 10 s", changes(&loaded));
    let after = run(&mut ladder, 120, half);
    assert_eq!(*after.last().unwrap(), Rung::FourSteps, "back within four seconds");
}

#[test]
fn a_load_under_which_every_step_up_failed_is_forgotten_two_seconds_after_it() {
    let mut ladder = Ladder::new(Rung::FourSteps, 128, BUDGET);
    let half = |r| if r == Rung::FourSteps { 20.0 } else { free(r) / 2.0 };
    ladder.set_costs(&Rung::ALL.map(|r| Some(micros(half(r) * 1e3))));
    for n in 0..1800 {
        let rung = ladder.rung();
        let slowed = if rung <= Rung::TwoSteps { 4.0 } else if n % 7 == 0 { 2.5 } else { 1.1 };
        ladder.record(micros(half(rung) * slowed * 1e3));
    }
    assert!(ladder.rung() > Rung::TwoSteps);
    run(&mut ladder, 60, half);
    assert_eq!(ladder.rung(), Rung::FourSteps);
}

#[test]
fn without_known_costs_it_finds_its_way_rung_by_rung() {
    let mut ladder = Ladder::new(Rung::TwoSteps, 256, BUDGET);
    run(&mut ladder, 60, free);
    run(&mut ladder, 60, |r| 3.0 * free(r));
    assert!(3.0 * free(ladder.rung()) < 30.0 && ladder.rung() < Rung::Puppet, "{:?}", ladder.rung());
    run(&mut ladder, 150, free);
    assert_eq!(ladder.rung(), Rung::TwoSteps);
}

#[test]
fn does_not_swing_between_two_rungs() {
    let mut ladder = Ladder::new(Rung::TwoSteps, 128, BUDGET);
    // Two steps never fit here, one always does.
    let rungs = run(&mut ladder, 3600, |r| if r == Rung::TwoSteps { 32.0 } else { 18.0 });
    assert!(changes(&rungs) < 20, "{} changes in two minutes", changes(&rungs));
    let good = rungs.iter().filter(|&&r| r == Rung::OneStep).count();
    assert!(good > 3400, "{good} of 3600 frames at the rung that fits");
}

#[test]
fn a_rung_that_is_dearer_under_load_than_it_should_be_is_not_tried_again_until_the_load_is_less() {
    let mut ladder = Ladder::new(Rung::FourSteps, 128, BUDGET);
    let half = |r| if r == Rung::FourSteps { 20.0 } else { free(r) / 2.0 };
    ladder.set_costs(&Rung::ALL.map(|r| Some(micros(half(r) * 1e3))));
    // Twice as slow, and two steps hit worse than the others.
    let rungs = run(&mut ladder, 600, |r| half(r) * if r == Rung::TwoSteps { 3.2 } else { 2.0 });
    assert!(changes(&rungs) <= 6, "{} changes in 20 s", changes(&rungs));
    run(&mut ladder, 150, half);
    assert_eq!(ladder.rung(), Rung::FourSteps);
}

#[test]
fn a_rung_whose_cost_was_measured_at_a_bad_time_is_tried_again() {
    let mut ladder = Ladder::new(Rung::TwoSteps, 128, BUDGET);
    run(&mut ladder, 3, |_| 300.0);
    assert_ne!(ladder.rung(), Rung::TwoSteps);
    run(&mut ladder, 30 * 180, |r| if r == Rung::TwoSteps { 20.0 } else { 10.0 });
    assert_eq!(ladder.rung(), Rung::TwoSteps);
}

#[test]
fn frames_that_are_old_though_cheap_step_down_but_do_not_put_the_dancer_to_rest() {
    let mut ladder = Ladder::new(Rung::OneStep, 128, BUDGET);
    let old = |ladder: &mut Ladder, age_ms| {
        ladder.ready(Duration::from_millis(age_ms));
        ladder.record(micros(5000.0));
    };
    (0..3).for_each(|_| old(&mut ladder, 80));
    assert_eq!(ladder.rung(), Rung::Puppet);
    (0..300).for_each(|_| old(&mut ladder, 80));
    assert_eq!(ladder.rung(), Rung::Puppet);
    (0..300).for_each(|_| old(&mut ladder, 10));
    assert_eq!(ladder.rung(), Rung::OneStep);
}

#[test]
fn a_hiccup_of_the_machine_does_not_stop_the_dance() {
    let mut ladder = Ladder::new(Rung::Puppet, 128, BUDGET);
    ladder.set_costs(&Rung::ALL.map(|r| Some(micros(free(r) * 1e3))));
    // Nor soon after it came back from a load.
    run(&mut ladder, 60, |r| 9.0 * free(r));
    assert_eq!(ladder.rung(), Rung::HalfRate);
    for _ in 0..20 {
        run(&mut ladder, 60, free);
        // The processor is away for a fifth of a second.
        ladder.record(micros(40_000.0));
        (0..4).for_each(|_| ladder.missed());
        assert_eq!(ladder.rung(), Rung::Puppet);
    }
}

#[test]
fn frames_that_could_not_be_made_count_as_late() {
    let mut ladder = Ladder::new(Rung::OneStep, 128, BUDGET);
    (0..3).for_each(|_| ladder.missed());
    assert_eq!(ladder.rung(), Rung::Puppet);
    (0..3).for_each(|_| ladder.missed());
    assert_eq!(ladder.rung(), Rung::HalfRate);
    (0..5).for_each(|_| ladder.missed());
    assert_eq!(ladder.rung(), Rung::HalfRate, "of these it would have drawn two");
    ladder.missed();
    assert_eq!(ladder.rung(), Rung::Idle);
    (0..30).for_each(|_| ladder.missed());
    run(&mut ladder, 600, free);
    assert_eq!(ladder.rung(), Rung::OneStep);
}

#[test]
fn a_motion_step_on_every_second_frame_does_not_keep_a_free_machine_down() {
    // Beside a cheap picture a step weighs much, and a machine may look twice as slow as it is.
    let mut ladder = Ladder::new(Rung::OneStep, 128, BUDGET);
    let picture = |r| if r <= Rung::OneStep { 13.0 } else { 2.0 };
    ladder.set_costs(&Rung::ALL.map(|r| Some(micros((picture(r) + 3.0) * 1e3))));
    (0..3).for_each(|_| ladder.missed());
    assert_eq!(ladder.rung(), Rung::Puppet);
    for n in 0..60 {
        let cost = picture(ladder.rung()) + if n % 2 == 0 { 6.0 } else { 0.0 };
        ladder.record(micros(1.2 * cost * 1e3));
    }
    assert_eq!(ladder.rung(), Rung::OneStep);
}

#[test]
fn on_a_machine_too_slow_for_every_frame_the_dance_goes_on_at_half_the_rate() {
    // A puppet takes longer than a frame's time, and less than two's.
    for slowdown in [8.0, 11.0] {
        let mut ladder = Ladder::new(Rung::OneStep, 128, BUDGET);
        ladder.set_costs(&Rung::ALL.map(|r| Some(micros(free(r) * 1e3))));
        let rungs = run(&mut ladder, 900, |r| slowdown * free(r));
        let dancing = rungs[30..].iter().filter(|r| **r == Rung::HalfRate).count();
        assert!(dancing > 840, "{slowdown}: {dancing} of 870 frames");
        run(&mut ladder, 150, free);
        assert_eq!(ladder.rung(), Rung::OneStep, "{slowdown}");
    }
    // Longer than that: it rests, and gets up when there is time again.
    let mut ladder = Ladder::new(Rung::OneStep, 128, BUDGET);
    run(&mut ladder, 300, |r| 18.0 * free(r));
    assert_eq!(ladder.rung(), Rung::Idle);
    run(&mut ladder, 300, |r| 9.0 * free(r));
    assert_eq!(ladder.rung(), Rung::HalfRate);
}

#[test]
fn never_rises_above_the_best_rung_that_was_asked_for() {
    let mut ladder = Ladder::new(Rung::OneStep, 128, BUDGET);
    assert!(run(&mut ladder, 900, |_| 1.0).iter().all(|&r| r == Rung::OneStep));
    assert!(Rung::from(Rung::OneStep, 128, false).eq([Rung::OneStep, Rung::Puppet, Rung::HalfRate, Rung::Idle]));
    assert!(Rung::from(Rung::TwoSteps, 192, false).eq([Rung::TwoSteps, Rung::OneStep, Rung::OneStep128, Rung::Puppet, Rung::HalfRate, Rung::Idle]));
    assert!(Rung::from(Rung::OneStep, 128, true).eq([Rung::OneStep, Rung::Lead, Rung::Puppet, Rung::HalfRate, Rung::Idle]));
    assert!(Rung::from(Rung::Puppet, 128, true).eq([Rung::Puppet, Rung::HalfRate, Rung::Idle]));
}

#[test]
fn a_group_that_would_be_late_steps_down_before_its_first_frame_and_up_again_when_it_is_small() {
    // A denoised dancer takes 9 ms, a warped one 3, and each more 2 ms of something else.
    let costs = |dancers: f64| {
        let of = |r| match r {
            Rung::Idle | Rung::HalfRate | Rung::Puppet => 3.0 * dancers,
            Rung::Lead => 9.0 + 3.0 * (dancers - 1.0),
            _ => 9.0 * dancers,
        };
        Rung::ALL.map(|r| (dancers > 1.0 || r != Rung::Lead).then(|| micros(1e3 * (of(r) + 2.0 * (dancers - 1.0)))))
    };
    let load = Load::new(&costs(1.0), &costs(2.0));
    let mut ladder = Ladder::new(Rung::OneStep, 128, BUDGET);
    let mut with = |dancers: usize| {
        ladder.regroup(dancers, &load.of(dancers));
        ladder.rung()
    };
    assert_eq!([1, 2, 3, 5].map(&mut with), [Rung::OneStep, Rung::OneStep, Rung::Lead, Rung::Puppet]);
    assert_eq!(with(1), Rung::Puppet, "up only after a calm second");
    run(&mut ladder, 60, |_| 5.0);
    assert_eq!(ladder.rung(), Rung::OneStep);
}

#[test]
fn rungs_are_listed_in_the_order_of_their_numbers() {
    assert!(Rung::ALL.iter().enumerate().all(|(i, r)| *r as usize == i));
}
