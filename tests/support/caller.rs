//! Requests to the appliance with the crate's own client, every value of the replies checked.

use super::Appliance;
use bcedge::client::infer::{InferRequest, Input, InputData, SharedOutput};
use bcedge::client::{Client, ClientError, Pending, Status, infer::parameter_text};
use bcedge::server::proto::{
    ModelInferResponse, ModelStatisticsRequest, ModelStatisticsResponse, StatisticDuration,
};
use bcedge::telemetry::Snapshot;
use bcedge::telemetry::snapshot::ModelSnapshot;
use bytes::Bytes;
use std::time::Duration;
use tokio::time::timeout;

/// Values of one item of a synthetic model and of `tests/data/double.onnx`.
pub const ELEMENTS: usize = 16;
/// No answer takes this long, on however loaded a machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// A connection of its own.
pub struct Caller {
    pub client: Client,
}

/// One request on its way.
pub struct Called {
    pending: Pending,
    value: f32,
}

/// What a completed request said of itself.
#[derive(Debug)]
pub struct Reply {
    pub batch: u64,
}

impl Caller {
    /// # Panics
    /// When the socket does not take the connection.
    pub async fn new(appliance: &Appliance) -> Caller {
        Caller { client: Client::connect(&appliance.socket()).await.expect("a connection") }
    }

    /// Sends one item whose values are all `value`.
    ///
    /// # Panics
    /// When the connection is gone.
    pub fn send(&self, model: &str, value: f32) -> Called {
        self.send_request(&request(model, InputData::Inline(row(value))), value)
    }

    /// Sends `request`, whose input's values are all `value`.
    ///
    /// # Panics
    /// When the connection is gone.
    pub fn send_request(&self, request: &InferRequest, value: f32) -> Called {
        Called { pending: self.client.send(&request.call()).expect("the connection is up"), value }
    }

    /// One item, there and back.
    ///
    /// # Errors
    /// How the appliance refused it.
    ///
    /// # Panics
    /// As [`Called::answer`].
    pub async fn infer(&self, model: &str, value: f32) -> Result<Reply, Status> {
        self.send(model, value).answer().await
    }

    /// What the appliance shows of a model.
    ///
    /// # Panics
    /// When it does not.
    pub async fn model(&self, name: &str) -> ModelSnapshot {
        let snapshot: Snapshot = self.client.snapshot().await.expect("a snapshot");
        snapshot.models.into_iter().find(|model| model.name == name).expect("the model")
    }

    /// Waits until what is shown of a model is as `wanted`.
    ///
    /// # Panics
    /// When it does not become so.
    pub async fn model_when(
        &self,
        name: &str,
        wanted: impl Fn(&ModelSnapshot) -> bool,
    ) -> ModelSnapshot {
        let waiting = async {
            loop {
                let model = self.model(name).await;
                if wanted(&model) {
                    return model;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(ANSWER_LIMIT, waiting).await.expect("what is waited for happens")
    }

    /// Requests of a model that were answered with outputs and with errors, by its statistics.
    ///
    /// # Panics
    /// When there are none.
    pub async fn counts(&self, model: &str) -> (u64, u64) {
        let request = ModelStatisticsRequest { name: model.into(), ..Default::default() };
        let reply: ModelStatisticsResponse =
            self.client.unary("ModelStatistics", &request).await.expect("statistics");
        let statistics = reply.model_stats[0].inference_stats.as_ref().expect("statistics");
        let count = |duration: &Option<StatisticDuration>| duration.as_ref().map_or(0, |d| d.count);
        (count(&statistics.success), count(&statistics.fail))
    }
}

impl Called {
    /// # Errors
    /// How the appliance refused it.
    ///
    /// # Panics
    /// Without an answer, or when its values are not twice those that were sent.
    pub async fn answer(self) -> Result<Reply, Status> {
        let answer = timeout(ANSWER_LIMIT, self.pending.reply::<ModelInferResponse>()).await;
        let reply = match answer.expect("an answer in time") {
            Ok(reply) => reply,
            Err(ClientError::Status(status)) => return Err(status),
            Err(other) => panic!("no answer: {other}"),
        };
        if let Some(output) = reply.raw_output_contents.first().filter(|bytes| !bytes.is_empty()) {
            assert_eq!(output, &row(2.0 * self.value), "another request's values");
        }
        let batch = reply.parameters.get("batch").and_then(parameter_text);
        Ok(Reply { batch: batch.and_then(|text| text.parse().ok()).expect("a batch") })
    }
}

/// One item of `model` with its input as `data`; the output comes in the reply.
pub fn request(model: &str, data: InputData) -> InferRequest {
    let input = Input {
        name: "INPUT0".into(),
        datatype: "FP32".into(),
        shape: vec![1, ELEMENTS as i64],
        data,
    };
    InferRequest { model: model.into(), slo_us: None, inputs: vec![input], outputs: Vec::new() }
}

/// The only output, at `place`.
pub fn output_at(place: bcedge::client::infer::SharedPlace) -> SharedOutput {
    SharedOutput { name: "OUTPUT0".into(), place: Some(place) }
}

/// One item's bytes.
pub fn row(value: f32) -> Bytes {
    value.to_le_bytes().repeat(ELEMENTS).into()
}
