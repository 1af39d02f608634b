//! Questions about topics: which partitions they have, which identity, and making one.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::bindings as ffi;
use rdkafka::client::Client;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use super::{Properties, Watch};

/// What a cluster says of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// Its identity, another one when it was deleted and made again; `None` where the brokers know none.
    pub id: Option<String>,
    /// How many partitions it has.
    pub partitions: usize,
}

/// Asks for topics, in the order of `names`; a topic that is not there is an error of its own.
///
/// # Errors
/// The outer one when the cluster does not answer within `timeout`.
pub(crate) fn describe<C: rdkafka::ClientContext>(
    client: &Client<C>,
    names: &[&str],
    timeout: Duration,
) -> KafkaResult<Vec<Result<TopicInfo, RDKafkaErrorCode>>> {
    let owned: Vec<CString> = names.iter().map(|name| CString::new(*name)).collect::<Result<_, _>>()?;
    let mut pointers: Vec<*const std::ffi::c_char> = owned.iter().map(|name| name.as_ptr()).collect();
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let rk = client.native_ptr();
    // SAFETY: `rk` is a live client, since `client` is borrowed. Each object that is made here is destroyed
    // here, once, on every way out: `Owned` does it. The strings outlive the call that copies them. What the
    // event holds (descriptions, identities) is read while the event is alive.
    unsafe {
        let queue = Owned(ffi::rd_kafka_queue_new(rk), ffi::rd_kafka_queue_destroy);
        let options = Owned(
            ffi::rd_kafka_AdminOptions_new(rk, ffi::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS),
            ffi::rd_kafka_AdminOptions_destroy,
        );
        let mut text = [0; 128];
        ffi::rd_kafka_AdminOptions_set_request_timeout(options.0, millis, text.as_mut_ptr(), text.len());
        let topics = Owned(
            ffi::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()),
            ffi::rd_kafka_TopicCollection_destroy,
        );
        ffi::rd_kafka_DescribeTopics(rk, topics.0, options.0, queue.0);
        // The request has its own timeout, which ends first.
        let event = Owned(
            ffi::rd_kafka_queue_poll(queue.0, millis.saturating_add(1_000)),
            ffi::rd_kafka_event_destroy,
        );
        if event.0.is_null() {
            return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut));
        }
        let code = ffi::rd_kafka_event_error(event.0);
        if code != ffi::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(KafkaError::MetadataFetch(code.into()));
        }
        let result = ffi::rd_kafka_event_DescribeTopics_result(event.0);
        if result.is_null() {
            return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::Fail));
        }
        let mut count = 0;
        let descriptions = ffi::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        let mut all = Vec::with_capacity(count);
        for i in 0..count {
            all.push(topic_info(*descriptions.add(i)));
        }
        Ok(all)
    }
}

/// # Safety
/// `description` belongs to an event that is alive.
unsafe fn topic_info(
    description: *const ffi::rd_kafka_TopicDescription_t,
) -> Result<TopicInfo, RDKafkaErrorCode> {
    // SAFETY: the pointers lead into the event that the caller keeps alive; null is tested where it can be.
    unsafe {
        let error = ffi::rd_kafka_TopicDescription_error(description);
        if !error.is_null() {
            let code = ffi::rd_kafka_error_code(error);
            if code != ffi::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(code.into());
            }
        }
        let name = CStr::from_ptr(ffi::rd_kafka_TopicDescription_name(description));
        let mut partitions = 0;
        ffi::rd_kafka_TopicDescription_partitions(description, &mut partitions);
        let id = ffi::rd_kafka_TopicDescription_topic_id(description);
        let id = if id.is_null() {
            None
        } else {
            let (high, low) =
                (ffi::rd_kafka_Uuid_most_significant_bits(id), ffi::rd_kafka_Uuid_least_significant_bits(id));
            (high != 0 || low != 0).then(|| format!("{high:016x}{low:016x}"))
        };
        Ok(TopicInfo { name: name.to_string_lossy().into_owned(), id, partitions })
    }
}

/// An object of librdkafka and the function that destroys it.
struct Owned<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the object was made for this guard alone and is destroyed nowhere else.
            unsafe { (self.1)(self.0) }
        }
    }
}

/// A topic to make.
#[derive(Clone, Debug)]
pub struct NewTopicSpec<'a> {
    /// Its name.
    pub name: &'a str,
    /// How many partitions.
    pub partitions: i32,
    /// How many copies; `None`: what the brokers do by default.
    pub replication: Option<i32>,
    /// Its settings, such as `cleanup.policy`.
    pub settings: &'a [(&'a str, &'a str)],
}

/// Asks for topics by name, in their order; `None` for one that is not there.
///
/// # Errors
/// What went wrong, in words.
pub fn describe_topics(
    properties: &Properties,
    names: &[&str],
    timeout: Duration,
) -> Result<Vec<Option<TopicInfo>>, String> {
    let admin = admin(properties)?;
    let described = describe(admin.inner(), names, timeout);
    let described = described.map_err(|error| because(&admin, &error))?;
    described
        .into_iter()
        .map(|topic| match topic {
            Ok(topic) => Ok(Some(topic)),
            Err(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(None),
            Err(code) => Err(code.to_string()),
        })
        .collect()
}

/// Makes a topic; whether it was not there before.
///
/// # Errors
/// What went wrong, in words.
pub fn create_topic(
    properties: &Properties,
    spec: &NewTopicSpec<'_>,
    timeout: Duration,
) -> Result<bool, String> {
    let admin = admin(properties)?;
    let mut topic =
        NewTopic::new(spec.name, spec.partitions, TopicReplication::Fixed(spec.replication.unwrap_or(-1)));
    for (name, value) in spec.settings {
        topic = topic.set(name, value);
    }
    let options = AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout));
    let topics = [topic];
    let made = block_on(admin.create_topics(&topics, &options)).map_err(|error| because(&admin, &error))?;
    match made.into_iter().next() {
        Some(Ok(_)) => Ok(true),
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(false),
        Some(Err((name, code))) => Err(format!("topic {name:?} cannot be made: {code}")),
        None => Err(format!("no answer about topic {:?}", spec.name)),
    }
}

/// Gives a topic more partitions, `partitions` in all.
///
/// # Errors
/// What went wrong, in words.
pub fn add_partitions(
    properties: &Properties,
    topic: &str,
    partitions: usize,
    timeout: Duration,
) -> Result<(), String> {
    let admin = admin(properties)?;
    let options = AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout));
    let wanted = [NewPartitions::new(topic, partitions)];
    let made =
        block_on(admin.create_partitions(&wanted, &options)).map_err(|error| because(&admin, &error))?;
    match made.into_iter().next() {
        Some(Ok(_)) => Ok(()),
        Some(Err((name, code))) => Err(format!("topic {name:?} cannot get more partitions: {code}")),
        None => Err(format!("no answer about topic {topic:?}")),
    }
}

/// A topic's settings as the brokers have them in effect (`message.timestamp.type`, `retention.ms`, …); those that
/// have no value, and secrets, are left out.
///
/// # Errors
/// What went wrong, in words.
pub fn topic_settings(
    properties: &Properties,
    topic: &str,
    timeout: Duration,
) -> Result<BTreeMap<String, String>, String> {
    let admin = admin(properties)?;
    let options = AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout));
    let wanted = [ResourceSpecifier::Topic(topic)];
    let described =
        block_on(admin.describe_configs(&wanted, &options)).map_err(|error| because(&admin, &error))?;
    match described.into_iter().next() {
        Some(Ok(resource)) => {
            let entries = resource.entries.into_iter().filter(|entry| !entry.is_sensitive);
            Ok(entries.filter_map(|entry| Some((entry.name, entry.value?))).collect())
        }
        Some(Err(code)) => Err(format!("the settings of topic {topic:?} cannot be read: {code}")),
        None => Err(format!("no answer about topic {topic:?}")),
    }
}

fn admin(properties: &Properties) -> Result<AdminClient<Watch>, String> {
    let config = properties.client();
    config.create_with_context(Watch::new("kafka topics")).map_err(|error| super::explain(&error))
}

fn because(admin: &AdminClient<Watch>, error: &KafkaError) -> String {
    let text = super::explain(error);
    match admin.inner().context().reason() {
        Some(reason) => format!("{text} ({reason})"),
        None => text,
    }
}

/// Waits for a future; librdkafka's own threads complete it.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
