//! The settings of `activity`.

use std::time::Duration;

use tidegate::window::WindowSpec;

use super::kinds::{BYTES, DISTINCT, DURATION, OPTIONAL_DURATION, POSITIVE_DURATION, SWITCH, TOPIC};
use super::section::{Findings, Section};
use crate::activity::Config;

/// Reads the section `activity`.
pub(super) fn read(section: &mut Section<'_>, config: &mut Config, findings: &mut Findings) {
    section.read("topic", &TOPIC, &mut config.topic, findings);
    section.read("delay", &DURATION, &mut config.delay, findings);
    section.read("max_ahead", &DURATION, &mut config.max_ahead, findings);
    section.read("max_record_bytes", &BYTES, &mut config.limits.max_record_bytes, findings);
    section.read("max_string_bytes", &BYTES, &mut config.limits.max_string_bytes, findings);
    section.read("distinct", &DISTINCT, &mut config.distinct, findings);
    section.read("session_gap", &POSITIVE_DURATION, &mut config.session_gap, findings);
    section.read("update_every", &OPTIONAL_DURATION, &mut config.update_every, findings);
    section.read("update_sessions", &SWITCH, &mut config.update_sessions, findings);

    let mut windows = section.section("windows", findings);
    let mut page_views = windows.section("page_view_counts", findings);
    window(&mut page_views, &mut config.page_view_windows, findings);
    page_views.finish(findings);
    let mut active_users = windows.section("active_users", findings);
    window(&mut active_users, &mut config.active_user_windows, findings);
    active_users.finish(findings);
    windows.finish(findings);

    let mut outputs = section.section("outputs", findings);
    let on = &mut config.outputs;
    outputs.read("page_view_counts", &SWITCH, &mut on.page_views, findings);
    outputs.read("active_users", &SWITCH, &mut on.active_users, findings);
    outputs.read("sessions", &SWITCH, &mut on.sessions, findings);
    outputs.read("lake", &SWITCH, &mut on.lake, findings);
    outputs.read("enriched_activity", &SWITCH, &mut on.enriched, findings);
    outputs.finish(findings);
}

/// Reads `size` and `slide`. Windows that are tumbling by default stay so when only their size is set.
pub(super) fn window(section: &mut Section<'_>, spec: &mut WindowSpec, findings: &mut Findings) {
    let micros = |us: i64| Duration::from_micros(us.unsigned_abs());
    let (mut size, mut slide) = (micros(spec.size_us()), micros(spec.slide_us()));
    let size_made = section.read("size", &POSITIVE_DURATION, &mut size, findings);
    if spec.is_tumbling() {
        slide = size;
    }
    let slide_made = section.read("slide", &POSITIVE_DURATION, &mut slide, findings);
    let us = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    match WindowSpec::sliding(us(size), us(slide)) {
        Ok(valid) => *spec = valid,
        Err(bad) => section.misfit(
            slide_made.or(size_made),
            bad.to_string(),
            "make the slide at most the size; records between windows would be lost otherwise",
            findings,
        ),
    }
}
