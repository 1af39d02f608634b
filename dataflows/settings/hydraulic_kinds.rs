//! The kinds of value that only settings of `hydraulic` have.

use super::kinds::{DURATION, Kind, wrong};
use crate::hydraulic::{
    Expression, Pair, PartitionColumn, SENSORS, SensorSet, Severity, Side, SilentPolicy, sensor_called,
};

/// `all`, or sensors with commas between.
pub(super) const SENSOR_SET: Kind<SensorSet> = Kind {
    read: |text| {
        if text == "all" {
            return Ok(SensorSet::ALL);
        }
        text.split(',').map(|name| sensor(name.trim())).collect()
    },
    show: |sensors| {
        if *sensors == SensorSet::ALL {
            return "all".to_owned();
        }
        sensors.iter().map(|sensor| SENSORS[sensor]).collect::<Vec<_>>().join(", ")
    },
};

/// `null`, `drop`, or `hold` and a duration.
pub(super) const SILENT: Kind<SilentPolicy> = Kind {
    read: |text| match text.split_once(' ') {
        None if text == "empty" => Ok(SilentPolicy::Null),
        None if text == "drop" => Ok(SilentPolicy::Drop),
        Some(("hold", at_most)) => (DURATION.read)(at_most.trim()).map(SilentPolicy::Hold),
        _ => wrong(
            format!("{text:?} is nothing that can be done about a silent sensor"),
            "write empty (its columns are null), hold 5s (its last features, for so long) or drop (no row)",
        ),
    },
    show: |policy| match policy {
        SilentPolicy::Null => "empty".to_owned(),
        SilentPolicy::Drop => "drop".to_owned(),
        SilentPolicy::Hold(at_most) => format!("hold {}", (DURATION.show)(at_most)),
    },
};

/// Levels of directories, with commas between.
pub(super) const PARTITION_COLUMNS: Kind<Vec<PartitionColumn>> = Kind {
    read: |text| {
        let mut columns = Vec::new();
        for name in text.split(',').map(str::trim) {
            let column = PartitionColumn::ALL.into_iter().find(|column| column.name() == name);
            match column.filter(|column| !columns.contains(column)) {
                Some(column) => columns.push(column),
                None => {
                    let names = PartitionColumn::ALL.map(PartitionColumn::name).join(", ");
                    return wrong(
                        format!("{name:?} is no level, or stands there twice"),
                        format!("write some of {names}"),
                    );
                }
            }
        }
        Ok(columns)
    },
    show: |columns| columns.iter().map(|column| column.name()).collect::<Vec<_>>().join(", "),
};

/// A number.
pub(super) const NUMBER: Kind<f64> = Kind { read: number, show: f64::to_string };

/// A number, or `none`.
pub(super) const LIMIT: Kind<Option<f64>> = Kind {
    read: |text| if text == "none" { Ok(None) } else { number(text).map(Some) },
    show: |limit| limit.map_or("none".to_owned(), |limit| limit.to_string()),
};

/// A whole number from 1 to 100,000.
pub(super) const COUNT: Kind<usize> = Kind {
    read: |text| match text.replace('_', "").parse() {
        Ok(count) if (1..=100_000).contains(&count) => Ok(count),
        _ => wrong(format!("{text:?} is not a number from 1 to 100,000"), "write a whole number, such as 60"),
    },
    show: usize::to_string,
};

/// `info`, `warning`, `critical`.
pub(super) const SEVERITY: Kind<Severity> = Kind {
    read: |text| {
        let all = [Severity::Info, Severity::Warning, Severity::Critical];
        match all.into_iter().find(|severity| severity.as_str() == text) {
            Some(severity) => Ok(severity),
            None => wrong(format!("{text:?} is no severity"), "write info, warning or critical"),
        }
    },
    show: |severity| severity.as_str().to_owned(),
};

/// `above` or `below`.
pub(super) const SIDE: Kind<Side> = Kind {
    read: |text| match text {
        "above" => Ok(Side::Above),
        "below" => Ok(Side::Below),
        _ => wrong(format!("{text:?} is no side of a limit"), "write above or below"),
    },
    show: |side| if *side == Side::Above { "above".to_owned() } else { "below".to_owned() },
};

/// An expression over the columns of `synchronized_features`.
pub(super) const EXPRESSION: Kind<Expression> = Kind {
    read: |text| {
        Expression::parse(text).or_else(|cause| {
            wrong(
                format!("{text:?} is no expression: {cause}"),
                "write columns of synchronized_features, numbers, + - * / ( ) and abs( ), such as PS1_max - PS2_min",
            )
        })
    },
    show: Expression::to_string,
};

/// `none`, or pairs such as `PS5/PS6 0.5..1`, with commas between.
pub(super) const PAIRS: Kind<Vec<Pair>> = Kind {
    read: |text| {
        if text == "none" {
            return Ok(Vec::new());
        }
        text.split(',').map(|text| pair(text.trim())).collect()
    },
    show: |pairs| {
        let show = |pair: &Pair| format!("{} {}..{}", pair.name(), pair.low, pair.high);
        if pairs.is_empty() {
            "none".to_owned()
        } else {
            pairs.iter().map(show).collect::<Vec<_>>().join(", ")
        }
    },
};

fn sensor(name: &str) -> Result<usize, (String, String)> {
    match sensor_called(name) {
        Some(sensor) => Ok(sensor),
        None => wrong(format!("{name:?} is no sensor"), format!("write some of {}", SENSORS.join(", "))),
    }
}

fn number(text: &str) -> Result<f64, (String, String)> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number + 0.0),
        _ => wrong(format!("{text:?} is not a number"), "write a number, such as 3 or 0.5"),
    }
}

fn pair(text: &str) -> Result<Pair, (String, String)> {
    let parts = text
        .split_once(' ')
        .and_then(|(names, limits)| Some((names.split_once('/')?, limits.trim().split_once("..")?)));
    let Some(((x, y), (low, high))) = parts else {
        return wrong(
            format!("{text:?} is no pair"),
            "write two sensors and what their correlation may be, such as PS5/PS6 0.5..1",
        );
    };
    let pair = Pair { x: sensor(x)?, y: sensor(y)?, low: number(low)?, high: number(high)? };
    if pair.low > pair.high {
        return wrong(format!("{text:?} allows no correlation"), "write the smaller limit first");
    }
    Ok(pair)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hydraulic::{Config, RuleKind};

    #[test]
    fn what_is_shown_is_read_again() {
        let config = Config::default();
        let some: SensorSet = [0, 16].into_iter().collect();
        for sensors in [SensorSet::ALL, some] {
            assert_eq!((SENSOR_SET.read)(&(SENSOR_SET.show)(&sensors)), Ok(sensors));
        }
        let shown = (PARTITION_COLUMNS.show)(&config.partition_by);
        assert_eq!((PARTITION_COLUMNS.read)(&shown), Ok(config.partition_by));
        for policy in
            [SilentPolicy::Null, SilentPolicy::Drop, SilentPolicy::Hold(std::time::Duration::from_secs(5))]
        {
            assert_eq!((SILENT.read)(&(SILENT.show)(&policy)), Ok(policy));
        }
        for rule in config.rules {
            if let RuleKind::Correlation { pairs, .. } = rule.kind {
                assert_eq!((PAIRS.read)(&(PAIRS.show)(&pairs)), Ok(pairs));
            }
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for bad in ["PS7", "", "PS1 PS2", "all, PS1"] {
            assert!((SENSOR_SET.read)(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "hold", "hold 5", "keep"] {
            assert!((SILENT.read)(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "year, year", "week"] {
            assert!((PARTITION_COLUMNS.read)(bad).is_err(), "{bad:?}");
        }
        for bad in ["PS5/PS6", "PS5/PS6 1..0", "PS5-PS6 0..1", "PS5/PS9 0..1", "PS5/PS6 0..inf"] {
            assert!((PAIRS.read)(bad).is_err(), "{bad:?}");
        }
        assert!((COUNT.read)("0").is_err() && (NUMBER.read)("NaN").is_err() && (LIMIT.read)("").is_err());
    }
}
