//! GTFS-Realtime, version 2.0 with its experimental fields: the official schema as tables.

use tidegate::decode::protobuf::Kind::{
    self, Bool, Double, Enum, Float, Int32, Int64, Opaque, Text, Uint32, Uint64,
};
use tidegate::decode::protobuf::{Descriptor, Enumeration, many, one};

macro_rules! message {
    ($constant:ident $name:literal: $($field:expr),+ $(,)?) => {
        #[doc = concat!("`", $name, "`.")]
        pub(super) static $constant: Descriptor = Descriptor { name: $name, fields: &[$($field),+] };
    };
}

macro_rules! enumeration {
    ($constant:ident $name:literal: $($value:ident = $number:literal),+ $(,)?) => {
        static $constant: Enumeration =
            Enumeration { name: $name, values: &[$(($number, stringify!($value))),+] };
    };
}

const fn nested(of: &'static Descriptor) -> Kind {
    Kind::Message(of)
}

message!(HEADER "FeedHeader":
    one(1, "gtfs_realtime_version", Text),
    one(2, "incrementality", Enum(&INCREMENTALITY)),
    one(3, "timestamp", Uint64),
    one(4, "feed_version", Text),
);

message!(ENTITY "FeedEntity":
    one(1, "id", Text),
    one(2, "is_deleted", Bool),
    one(3, "trip_update", nested(&TRIP_UPDATE)),
    one(4, "vehicle", nested(&VEHICLE_POSITION)),
    one(5, "alert", nested(&ALERT)),
    one(6, "shape", Opaque),
    one(7, "stop", Opaque),
    one(8, "trip_modifications", Opaque),
);

message!(TRIP_UPDATE "TripUpdate":
    one(1, "trip", nested(&TRIP)),
    many(2, "stop_time_update", nested(&STOP_TIME_UPDATE)),
    one(3, "vehicle", nested(&VEHICLE)),
    one(4, "timestamp", Uint64),
    one(5, "delay", Int32),
    one(6, "trip_properties", nested(&TRIP_PROPERTIES)),
);

message!(STOP_TIME_UPDATE "StopTimeUpdate":
    one(1, "stop_sequence", Uint32),
    one(2, "arrival", nested(&STOP_TIME_EVENT)),
    one(3, "departure", nested(&STOP_TIME_EVENT)),
    one(4, "stop_id", Text),
    one(5, "schedule_relationship", Enum(&STOP_SCHEDULE)),
    one(6, "stop_time_properties", nested(&STOP_TIME_PROPERTIES)),
    one(7, "departure_occupancy_status", Enum(&OCCUPANCY)),
);

message!(STOP_TIME_EVENT "StopTimeEvent":
    one(1, "delay", Int32),
    one(2, "time", Int64),
    one(3, "uncertainty", Int32),
    one(4, "scheduled_time", Int64),
);

message!(STOP_TIME_PROPERTIES "StopTimeProperties":
    one(1, "assigned_stop_id", Text),
    one(2, "stop_headsign", Text),
    one(3, "pickup_type", Enum(&PICKUP)),
    one(4, "drop_off_type", Enum(&PICKUP)),
);

message!(TRIP_PROPERTIES "TripProperties":
    one(1, "trip_id", Text),
    one(2, "start_date", Text),
    one(3, "start_time", Text),
    one(4, "shape_id", Text),
    one(5, "trip_headsign", Text),
    one(6, "trip_short_name", Text),
);

message!(VEHICLE_POSITION "VehiclePosition":
    one(1, "trip", nested(&TRIP)),
    one(2, "position", nested(&POSITION)),
    one(3, "current_stop_sequence", Uint32),
    one(4, "current_status", Enum(&STOP_STATUS)),
    one(5, "timestamp", Uint64),
    one(6, "congestion_level", Enum(&CONGESTION)),
    one(7, "stop_id", Text),
    one(8, "vehicle", nested(&VEHICLE)),
    one(9, "occupancy_status", Enum(&OCCUPANCY)),
    one(10, "occupancy_percentage", Uint32),
    many(11, "multi_carriage_details", nested(&CARRIAGE)),
);

message!(CARRIAGE "CarriageDetails":
    one(1, "id", Text),
    one(2, "label", Text),
    one(3, "occupancy_status", Enum(&OCCUPANCY)),
    one(4, "occupancy_percentage", Int32),
    one(5, "carriage_sequence", Uint32),
);

message!(ALERT "Alert":
    many(1, "active_period", nested(&PERIOD)),
    many(2, "communication_period", nested(&PERIOD)),
    many(3, "impact_period", nested(&PERIOD)),
    many(5, "informed_entity", nested(&SELECTOR)),
    one(6, "cause", Enum(&CAUSE)),
    one(7, "effect", Enum(&EFFECT)),
    one(8, "url", nested(&TRANSLATED)),
    one(10, "header_text", nested(&TRANSLATED)),
    one(11, "description_text", nested(&TRANSLATED)),
    one(12, "tts_header_text", nested(&TRANSLATED)),
    one(13, "tts_description_text", nested(&TRANSLATED)),
    one(14, "severity_level", Enum(&SEVERITY)),
    one(15, "image", nested(&TRANSLATED_IMAGE)),
    one(16, "image_alternative_text", nested(&TRANSLATED)),
    one(17, "cause_detail", nested(&TRANSLATED)),
    one(18, "effect_detail", nested(&TRANSLATED)),
);

message!(PERIOD "TimeRange": one(1, "start", Uint64), one(2, "end", Uint64));

message!(SELECTOR "EntitySelector":
    one(1, "agency_id", Text),
    one(2, "route_id", Text),
    one(3, "route_type", Int32),
    one(4, "trip", nested(&TRIP)),
    one(5, "stop_id", Text),
    one(6, "direction_id", Uint32),
);

message!(TRIP "TripDescriptor":
    one(1, "trip_id", Text),
    one(2, "start_time", Text),
    one(3, "start_date", Text),
    one(4, "schedule_relationship", Enum(&TRIP_SCHEDULE)),
    one(5, "route_id", Text),
    one(6, "direction_id", Uint32),
    one(7, "modified_trip", nested(&MODIFIED_TRIP)),
);

message!(MODIFIED_TRIP "ModifiedTripSelector":
    one(1, "modifications_id", Text),
    one(2, "affected_trip_id", Text),
    one(3, "start_time", Text),
    one(4, "start_date", Text),
);

message!(VEHICLE "VehicleDescriptor":
    one(1, "id", Text),
    one(2, "label", Text),
    one(3, "license_plate", Text),
    one(4, "wheelchair_accessible", Enum(&WHEELCHAIR)),
);

message!(POSITION "Position":
    one(1, "latitude", Float),
    one(2, "longitude", Float),
    one(3, "bearing", Float),
    one(4, "odometer", Double),
    one(5, "speed", Float),
);

message!(TRANSLATED "TranslatedString": many(1, "translation", nested(&TRANSLATION)));
message!(TRANSLATION "Translation": one(1, "text", Text), one(2, "language", Text));
message!(TRANSLATED_IMAGE "TranslatedImage": many(1, "localized_image", nested(&LOCALIZED_IMAGE)));
message!(LOCALIZED_IMAGE "LocalizedImage":
    one(1, "url", Text),
    one(2, "media_type", Text),
    one(3, "language", Text),
);

enumeration!(INCREMENTALITY "Incrementality": FULL_DATASET = 0, DIFFERENTIAL = 1);
enumeration!(STOP_SCHEDULE "StopTimeUpdate.ScheduleRelationship":
    SCHEDULED = 0, SKIPPED = 1, NO_DATA = 2, UNSCHEDULED = 3);
enumeration!(PICKUP "DropOffPickupType": REGULAR = 0, NONE = 1, PHONE_AGENCY = 2, COORDINATE_WITH_DRIVER = 3);
enumeration!(STOP_STATUS "VehicleStopStatus": INCOMING_AT = 0, STOPPED_AT = 1, IN_TRANSIT_TO = 2);
enumeration!(CONGESTION "CongestionLevel":
    UNKNOWN_CONGESTION_LEVEL = 0, RUNNING_SMOOTHLY = 1, STOP_AND_GO = 2, CONGESTION = 3, SEVERE_CONGESTION = 4);
enumeration!(OCCUPANCY "OccupancyStatus":
    EMPTY = 0, MANY_SEATS_AVAILABLE = 1, FEW_SEATS_AVAILABLE = 2, STANDING_ROOM_ONLY = 3,
    CRUSHED_STANDING_ROOM_ONLY = 4, FULL = 5, NOT_ACCEPTING_PASSENGERS = 6, NO_DATA_AVAILABLE = 7,
    NOT_BOARDABLE = 8);
enumeration!(CAUSE "Cause":
    UNKNOWN_CAUSE = 1, OTHER_CAUSE = 2, TECHNICAL_PROBLEM = 3, STRIKE = 4, DEMONSTRATION = 5, ACCIDENT = 6,
    HOLIDAY = 7, WEATHER = 8, MAINTENANCE = 9, CONSTRUCTION = 10, POLICE_ACTIVITY = 11, MEDICAL_EMERGENCY = 12,
    SPECIAL_EVENT = 13);
enumeration!(EFFECT "Effect":
    NO_SERVICE = 1, REDUCED_SERVICE = 2, SIGNIFICANT_DELAYS = 3, DETOUR = 4, ADDITIONAL_SERVICE = 5,
    MODIFIED_SERVICE = 6, OTHER_EFFECT = 7, UNKNOWN_EFFECT = 8, STOP_MOVED = 9, NO_EFFECT = 10,
    ACCESSIBILITY_ISSUE = 11);
enumeration!(SEVERITY "SeverityLevel": UNKNOWN_SEVERITY = 1, INFO = 2, WARNING = 3, SEVERE = 4);
enumeration!(TRIP_SCHEDULE "TripDescriptor.ScheduleRelationship":
    SCHEDULED = 0, ADDED = 1, UNSCHEDULED = 2, CANCELED = 3, REPLACEMENT = 5, DUPLICATED = 6, DELETED = 7, NEW = 8);
enumeration!(WHEELCHAIR "WheelchairAccessible":
    NO_VALUE = 0, UNKNOWN = 1, WHEELCHAIR_ACCESSIBLE = 2, WHEELCHAIR_INACCESSIBLE = 3);
