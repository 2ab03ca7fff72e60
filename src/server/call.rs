//! One inference under way, from the checked request to the outputs.

use crate::engine::ModelSpec;
use crate::pipeline::{Completion, Outcome};
use crate::server::connection::{Connection, InFlight};
use crate::server::gateway::{Answer, AnswerOutput, Catalog, Ticket};
use crate::server::parameters::Options;
use crate::server::regions::Place;
use crate::server::status::{Code, Refusal};
use crate::server::validate::{self, GivenInput, GivenOutput};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Which model a client wants, and under what name it wants the reply.
#[derive(Debug, Default)]
pub struct Address {
    pub model: String,
    pub version: String,
    pub id: String,
}

/// A request in the appliance. Await it; drop it to cancel.
pub struct Call {
    ticket: Ticket,
    address: Address,
    spec: Arc<ModelSpec>,
    places: Vec<Option<Place>>,
    in_flight: InFlight,
}

/// A completed call.
pub struct Reply {
    pub address: Address,
    pub spec: Arc<ModelSpec>,
    pub completion: Completion,
    pub outputs: Vec<AnswerOutput>,
    /// For each output: where in shared memory it is, as the client named it.
    pub places: Vec<Option<Place>>,
    pub in_flight: InFlight,
}

impl Call {
    /// Checks the request and hands it to the reactor.
    ///
    /// # Errors
    /// Everything [`validate::check`] finds, or too many requests outstanding.
    pub fn begin(
        connection: &Connection,
        catalog: &Catalog,
        in_flight: InFlight,
        address: Address,
        inputs: Vec<GivenInput>,
        outputs: Vec<GivenOutput>,
        options: &Options,
    ) -> Result<Call, Refusal> {
        let (model, entry) = validate::find_model(catalog, &address.model, &address.version)?;
        let spec = validate::ready_spec(entry)?;
        let checked = validate::check(model, entry, spec, inputs, outputs, options)?;
        let ticket = connection.server.gateway.submit(checked.submission).ok_or_else(|| {
            Refusal::new(
                Code::ResourceExhausted,
                "the appliance has as many unanswered requests as it can hold; try again later",
            )
        })?;
        let (spec, places) = (spec.clone(), checked.places);
        Ok(Call { ticket, address, spec, places, in_flight })
    }

    /// The id the client gave its request.
    pub fn id(&self) -> &str {
        &self.address.id
    }

    pub fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        Pin::new(&mut self.ticket).poll(cx)
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// Every outcome but [`Outcome::Completed`].
    pub async fn finish(mut self) -> Result<Reply, Refusal> {
        let answer = (&mut self.ticket).await;
        self.into_reply(answer)
    }

    /// # Errors
    /// Every outcome but [`Outcome::Completed`].
    pub fn into_reply(self, answer: Answer) -> Result<Reply, Refusal> {
        let Outcome::Completed(completion) = answer.outcome else {
            let detail = answer.detail.as_deref();
            return Err(Refusal::from_outcome(&self.address.model, answer.outcome, detail));
        };
        let Call { address, spec, places, in_flight, .. } = self;
        Ok(Reply { address, spec, completion, outputs: answer.outputs, places, in_flight })
    }
}

impl Reply {
    /// The outputs with their names and types, and where each went.
    pub fn named_outputs(
        &self,
    ) -> impl Iterator<Item = (&crate::engine::TensorSpec, &AnswerOutput, Option<&Place>)> {
        self.outputs.iter().zip(&self.places).filter_map(|(output, place)| {
            Some((self.spec.outputs.get(output.index)?, output, place.as_ref()))
        })
    }
}
