//! The 17 sensors of the rig.

/// How many there are.
pub const SENSOR_COUNT: usize = 17;

/// Their names, in the order of columns and topics. A sensor's number is its place here.
pub const SENSORS: [&str; SENSOR_COUNT] = [
    "PS1", "PS2", "PS3", "PS4", "PS5", "PS6", "EPS1", "FS1", "FS2", "TS1", "TS2", "TS3", "TS4", "VS1", "CE",
    "CP", "SE",
];

/// The pressures, in bar.
pub(super) const PRESSURES: std::ops::Range<usize> = 0..6;
/// The volume flows, in litres a minute.
pub(super) const FLOWS: std::ops::Range<usize> = 7..9;
/// The temperatures, in °C.
pub(super) const TEMPERATURES: std::ops::Range<usize> = 9..13;
/// The cooling efficiency, in percent.
pub(super) const COOLING: usize = 14;
/// The efficiency factor, in percent.
pub(super) const EFFICIENCY: usize = 16;

/// The number of the sensor called `name`.
pub fn sensor_called(name: &str) -> Option<usize> {
    SENSORS.iter().position(|sensor| *sensor == name)
}

/// How often a sensor measures, per second.
pub fn rate_hz(sensor: usize) -> u32 {
    match sensor {
        0..7 => 100,
        7..9 => 10,
        _ => 1,
    }
}

/// A set of sensors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SensorSet(u32);

impl SensorSet {
    /// All of them.
    pub const ALL: SensorSet = SensorSet((1 << SENSOR_COUNT) - 1);

    /// The set with `sensor` as well.
    #[must_use]
    pub fn with(self, sensor: usize) -> SensorSet {
        SensorSet(self.0 | 1 << sensor)
    }

    /// Whether `sensor` is in it.
    pub fn has(self, sensor: usize) -> bool {
        self.0 >> sensor & 1 == 1
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: SensorSet) -> SensorSet {
        SensorSet(self.0 | other.0)
    }

    /// Whether all of `other` is in it.
    pub fn covers(self, other: SensorSet) -> bool {
        self.0 & other.0 == other.0
    }

    /// How many are in it.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether none is.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Their numbers, ascending.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..SENSOR_COUNT).filter(move |sensor| self.has(*sensor))
    }
}

impl FromIterator<usize> for SensorSet {
    fn from_iter<I: IntoIterator<Item = usize>>(sensors: I) -> Self {
        sensors.into_iter().fold(SensorSet::default(), SensorSet::with)
    }
}
