//! Protobuf's enums under their names instead of their numbers, as protobuf's own JSON has them.

use crate::server::proto;
use serde::Serializer;

pub fn data_type<S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    let value = proto::DataType::try_from(*value).unwrap_or_default();
    serializer.serialize_str(value.as_str_name())
}

pub fn instance_kind<S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    let value = proto::model_instance_group::Kind::try_from(*value).unwrap_or_default();
    serializer.serialize_str(value.as_str_name())
}

pub fn timeout_action<S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    let value = proto::model_queue_policy::TimeoutAction::try_from(*value).unwrap_or_default();
    serializer.serialize_str(value.as_str_name())
}
