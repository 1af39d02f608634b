//! stand-in
/// l
pub fn kcat_line(_out: &mut Vec<u8>, _topic: &str, _p: i32, _o: i64, _t: crate::record::KafkaTime, _h: &[(&str, &[u8])], _k: Option<&[u8]>, _pl: Option<&[u8]>) {}
