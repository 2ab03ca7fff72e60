//! gRPC: `inference.GRPCInferenceService`.

mod contents;
mod infer;
mod stream;

pub use infer::{infer, refuse, reply};

use crate::server::connection::Connection;
use crate::server::metadata;
use crate::server::proto::grpc_inference_service_server::GrpcInferenceService;
use crate::server::proto::*;
use crate::server::settings::{self, Setting};
use crate::server::status::Refusal;
use crate::telemetry::Command;
use std::collections::HashMap;
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

/// The calls of one connection. `ModelInfer` has a shorter way in, see [`crate::server::dispatch`].
pub struct Calls {
    connection: Arc<Connection>,
}

impl Calls {
    pub fn new(connection: Arc<Connection>) -> Calls {
        Calls { connection }
    }
}

type Answer<T> = Result<Response<T>, Status>;

fn answer<T>(result: Result<T, Refusal>) -> Answer<T> {
    result.map(Response::new).map_err(Status::from)
}

#[tonic::async_trait]
impl GrpcInferenceService for Calls {
    type ModelStreamInferStream = stream::Replies;

    async fn server_live(&self, _: Request<ServerLiveRequest>) -> Answer<ServerLiveResponse> {
        answer(Ok(ServerLiveResponse { live: true }))
    }

    async fn server_ready(&self, _: Request<ServerReadyRequest>) -> Answer<ServerReadyResponse> {
        let ready = metadata::server_ready(&self.connection.server.gateway);
        answer(Ok(ServerReadyResponse { ready }))
    }

    async fn model_ready(&self, request: Request<ModelReadyRequest>) -> Answer<ModelReadyResponse> {
        let ModelReadyRequest { name, version } = request.into_inner();
        let catalog = self.connection.server.gateway.catalog();
        // What isn't there isn't ready; as with Triton, asking for it is no error here.
        let ready = metadata::model_ready(&catalog, &name, &version).unwrap_or(false);
        answer(Ok(ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Answer<ServerMetadataResponse> {
        answer(Ok(metadata::server_metadata()))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Answer<ModelMetadataResponse> {
        let ModelMetadataRequest { name, version } = request.into_inner();
        let catalog = self.connection.server.gateway.catalog();
        answer(metadata::model_metadata(&catalog, &name, &version))
    }

    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Answer<ModelInferResponse> {
        let call = self
            .connection
            .admit()
            .and_then(|in_flight| infer::begin(&self.connection, in_flight, request.into_inner()));
        answer(call?.finish().await.map(|reply| infer::response(reply).0))
    }

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<ModelInferRequest>>,
    ) -> Answer<Self::ModelStreamInferStream> {
        answer(Ok(stream::Replies::new(self.connection.clone(), request.into_inner())))
    }

    async fn model_config(
        &self,
        request: Request<ModelConfigRequest>,
    ) -> Answer<ModelConfigResponse> {
        let ModelConfigRequest { name, version } = request.into_inner();
        let catalog = self.connection.server.gateway.catalog();
        answer(
            metadata::model_config(&catalog, &name, &version)
                .map(|config| ModelConfigResponse { config: Some(config) }),
        )
    }

    async fn model_statistics(
        &self,
        request: Request<ModelStatisticsRequest>,
    ) -> Answer<ModelStatisticsResponse> {
        let ModelStatisticsRequest { name, version } = request.into_inner();
        let gateway = &self.connection.server.gateway;
        let snapshot = gateway.fresh_snapshot().await;
        answer(metadata::statistics(&gateway.catalog(), &snapshot, &name, &version))
    }

    async fn repository_index(
        &self,
        request: Request<RepositoryIndexRequest>,
    ) -> Answer<RepositoryIndexResponse> {
        let catalog = self.connection.server.gateway.catalog();
        answer(Ok(metadata::repository_index(&catalog, request.into_inner().ready)))
    }

    async fn repository_model_load(
        &self,
        request: Request<RepositoryModelLoadRequest>,
    ) -> Answer<RepositoryModelLoadResponse> {
        let RepositoryModelLoadRequest { model_name: model, parameters, .. } = request.into_inner();
        settings::check_load_parameters(parameters.keys().map(String::as_str))?;
        let loaded = self.connection.server.gateway.command(Command::Load { model }).await;
        answer(loaded.map(|()| RepositoryModelLoadResponse {}).map_err(Refusal::from))
    }

    async fn repository_model_unload(
        &self,
        request: Request<RepositoryModelUnloadRequest>,
    ) -> Answer<RepositoryModelUnloadResponse> {
        let model = request.into_inner().model_name;
        let unloaded = self.connection.server.gateway.command(Command::Unload { model }).await;
        answer(unloaded.map(|()| RepositoryModelUnloadResponse {}).map_err(Refusal::from))
    }

    async fn system_shared_memory_status(
        &self,
        request: Request<SystemSharedMemoryStatusRequest>,
    ) -> Answer<SystemSharedMemoryStatusResponse> {
        let name = request.into_inner().name;
        let found = self.connection.server.regions.status(self.connection.peer, &name);
        answer(found.map(|regions| {
            let by_name = |region: system_shared_memory_status_response::RegionStatus| {
                (region.name.clone(), region)
            };
            SystemSharedMemoryStatusResponse { regions: regions.into_iter().map(by_name).collect() }
        }))
    }

    async fn system_shared_memory_register(
        &self,
        request: Request<SystemSharedMemoryRegisterRequest>,
    ) -> Answer<SystemSharedMemoryRegisterResponse> {
        let wanted = request.into_inner();
        let registered = self.connection.server.regions.register(
            self.connection.peer,
            &wanted.name,
            &wanted.key,
            wanted.offset,
            wanted.byte_size,
        );
        answer(registered.map(|()| SystemSharedMemoryRegisterResponse {}))
    }

    async fn system_shared_memory_unregister(
        &self,
        request: Request<SystemSharedMemoryUnregisterRequest>,
    ) -> Answer<SystemSharedMemoryUnregisterResponse> {
        let name = request.into_inner().name;
        self.connection.server.regions.unregister(self.connection.peer, &name);
        answer(Ok(SystemSharedMemoryUnregisterResponse {}))
    }

    async fn cuda_shared_memory_status(
        &self,
        _: Request<CudaSharedMemoryStatusRequest>,
    ) -> Answer<CudaSharedMemoryStatusResponse> {
        answer(Ok(CudaSharedMemoryStatusResponse::default()))
    }

    async fn cuda_shared_memory_register(
        &self,
        _: Request<CudaSharedMemoryRegisterRequest>,
    ) -> Answer<CudaSharedMemoryRegisterResponse> {
        answer(Err(settings::cuda_shared_memory_unsupported()))
    }

    /// There is nothing to forget, and perf_analyzer asks for it at every start and end.
    async fn cuda_shared_memory_unregister(
        &self,
        _: Request<CudaSharedMemoryUnregisterRequest>,
    ) -> Answer<CudaSharedMemoryUnregisterResponse> {
        answer(Ok(CudaSharedMemoryUnregisterResponse {}))
    }

    async fn trace_setting(&self, _: Request<TraceSettingRequest>) -> Answer<TraceSettingResponse> {
        answer(Err(settings::trace_unsupported()))
    }

    async fn log_settings(
        &self,
        request: Request<LogSettingsRequest>,
    ) -> Answer<LogSettingsResponse> {
        let log = &self.connection.server.log;
        let wanted = request.into_inner().settings.into_iter().filter_map(|(name, value)| {
            use log_settings_request::setting_value::ParameterChoice;
            Some((
                name,
                match value.parameter_choice? {
                    ParameterChoice::BoolParam(v) => Setting::Bool(v),
                    ParameterChoice::Uint32Param(v) => Setting::Number(v),
                    ParameterChoice::StringParam(v) => Setting::Text(v),
                },
            ))
        });
        let changed = log.change(wanted.collect());
        answer(changed.map(|settings| LogSettingsResponse { settings: log_values(settings) }))
    }
}

fn log_values(
    settings: Vec<(&'static str, Setting)>,
) -> HashMap<String, log_settings_response::SettingValue> {
    use log_settings_response::setting_value::ParameterChoice;
    let value = |(name, setting): (&str, Setting)| {
        let choice = match setting {
            Setting::Bool(v) => ParameterChoice::BoolParam(v),
            Setting::Number(v) => ParameterChoice::Uint32Param(v),
            Setting::Text(v) => ParameterChoice::StringParam(v),
        };
        let value = log_settings_response::SettingValue { parameter_choice: Some(choice) };
        (name.to_owned(), value)
    };
    settings.into_iter().map(value).collect()
}
