//! `bcedge infer`.

mod reply;

use super::socket::SocketArgs;
use crate::client::infer::{InferRequest, Input, InputData};
use crate::client::{Client, ClientError, tensor_file};
use crate::server::proto;
use proto::model_metadata_response::TensorMetadata;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A server that has not answered after this long is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

const EXAMPLES: &str = "\
Examples:
  bcedge infer resnet18 cat.jpg                 a picture, and the five largest values of the reply
  bcedge infer resnet18 cat.jpg --slo-us 50000  the same, within 50 ms
  bcedge infer ranker ids=i.npy mask=m.npy      a model with two inputs

Files:
  .jpg .jpeg .png  an image, resized to the input's height and width (the aspect ratio is not kept),
                   RGB, in the input's order (NCHW or NHWC); divided by 255 for FP32 and FP16
  .npy             an array of the input's type; its batch dimension may be missing
  any other        the tensor's bytes: little-endian, row-major

For a model with several inputs: NAME=FILE for each of them.";

#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Model to ask
    model: String,
    /// Its input, or NAME=FILE for each of several
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
    #[command(flatten)]
    socket: SocketArgs,
    /// SLO of this request in microseconds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    slo_us: Option<u64>,
    /// Of an output that is a vector, show this many largest values
    #[arg(long, value_name = "N", default_value_t = 5)]
    top: usize,
}

/// # Errors
/// A text for the operator.
pub fn run(args: Args) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("can't start: {e}"))?;
    let reply = runtime.block_on(ask(&args, &args.socket.path()?))?;
    print!("{}", reply::text(&reply, args.top)?);
    Ok(())
}

async fn ask(args: &Args, socket: &Path) -> Result<proto::ModelInferResponse, String> {
    let client = Client::connect(socket).await.map_err(|e| e.to_string())?;
    let metadata = answer(client.model_metadata(&args.model)).await?;
    let mut inputs = Vec::with_capacity(metadata.inputs.len());
    for (tensor, path) in pair_files(&args.files, &metadata.inputs)? {
        let file = tensor_file::read(&path, tensor)?;
        inputs.push(Input {
            name: tensor.name.clone(),
            datatype: tensor.datatype.clone(),
            shape: file.shape,
            data: InputData::Inline(file.data.into()),
        });
    }
    let request =
        InferRequest { model: args.model.clone(), slo_us: args.slo_us, inputs, outputs: vec![] };
    answer(async { client.send(&request.call())?.reply().await }).await
}

async fn answer<T>(question: impl Future<Output = Result<T, ClientError>>) -> Result<T, String> {
    match tokio::time::timeout(ANSWER_TIMEOUT, question).await {
        Ok(result) => result.map_err(|e| e.to_string()),
        Err(_) => Err(format!("the server has not answered for {ANSWER_TIMEOUT:?}")),
    }
}

/// Which file goes to which input.
fn pair_files<'a>(
    files: &[String],
    inputs: &'a [TensorMetadata],
) -> Result<Vec<(&'a TensorMetadata, PathBuf)>, String> {
    let names = || inputs.iter().map(|i| i.name.as_str()).collect::<Vec<_>>().join(", ");
    let find = |name: &str| inputs.iter().find(|input| input.name == name);
    // A lone file may have a '=' in its name; only an input's name before it makes it a pair.
    if let ([file], [input]) = (files, inputs)
        && file.split_once('=').is_none_or(|(name, _)| find(name).is_none())
    {
        return Ok(vec![(input, PathBuf::from(file))]);
    }
    let mut pairs: Vec<(&TensorMetadata, PathBuf)> = Vec::with_capacity(files.len());
    for file in files {
        let (name, path) = file.split_once('=').ok_or_else(|| {
            format!("the model's inputs are {}: write NAME=FILE, not '{file}'", names())
        })?;
        let input = find(name).ok_or_else(|| {
            format!("the model has no input '{name}'; its inputs are {}", names())
        })?;
        if pairs.iter().any(|(paired, _)| paired.name == name) {
            return Err(format!("input '{name}' is given twice"));
        }
        pairs.push((input, PathBuf::from(path)));
    }
    match inputs.iter().find(|input| pairs.iter().all(|(paired, _)| paired.name != input.name)) {
        Some(missing) => {
            Err(format!("input '{}' has no file; the model's inputs are {}", missing.name, names()))
        }
        None => Ok(pairs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(names: &[&str]) -> Vec<TensorMetadata> {
        let input = |name: &&str| TensorMetadata { name: (*name).into(), ..Default::default() };
        names.iter().map(input).collect()
    }

    fn paired(files: &[&str], names: &[&str]) -> Result<Vec<(String, String)>, String> {
        let files: Vec<String> = files.iter().map(|f| f.to_string()).collect();
        let inputs = inputs(names);
        let pairs = pair_files(&files, &inputs)?;
        Ok(pairs.iter().map(|(i, p)| (i.name.clone(), p.display().to_string())).collect())
    }

    #[test]
    fn files_find_their_inputs() {
        let pair = |name: &str, file: &str| (name.to_string(), file.to_string());
        assert_eq!(paired(&["a.png"], &["x"]).unwrap(), [pair("x", "a.png")]);
        assert_eq!(paired(&["a=b.png"], &["x"]).unwrap(), [pair("x", "a=b.png")]);
        assert_eq!(paired(&["x=b.png"], &["x"]).unwrap(), [pair("x", "b.png")]);
        let two = paired(&["y=b=c", "x=a"], &["x", "y"]).unwrap();
        assert_eq!(two, [pair("y", "b=c"), pair("x", "a")]);
    }

    #[test]
    fn wrong_pairs_are_explained() {
        for (files, expected) in [
            (&["a.png"][..], "inputs are x, y: write NAME=FILE"),
            (&["z=a"], "no input 'z'; its inputs are x, y"),
            (&["x=a", "x=b"], "'x' is given twice"),
            (&["x=a"], "input 'y' has no file"),
        ] {
            let text = paired(files, &["x", "y"]).unwrap_err();
            assert!(text.contains(expected), "{text}");
        }
        assert!(paired(&["a", "b"], &["x"]).is_err());
        assert!(paired(&["a"], &[]).is_err());
    }
}
