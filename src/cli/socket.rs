//! Which socket a client command talks to.

use crate::config::Config;
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
pub struct SocketArgs {
    /// Socket of the server [default: bcedge.sock, or the one of --config]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Take the socket's path from this configuration
    #[arg(long, value_name = "FILE", conflicts_with = "socket")]
    config: Option<PathBuf>,
}

impl SocketArgs {
    /// # Errors
    /// When the configuration can't be read.
    pub fn path(&self) -> Result<PathBuf, String> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        let Some(path) = &self.config else {
            return Ok(crate::config::SocketConfig::default().path);
        };
        let text = std::fs::read_to_string(path)
            .map_err(|e| format!("can't read {}: {e}", path.display()))?;
        let config: Config = ron::from_str(&text).map_err(|e| format!("{}:{e}", path.display()))?;
        Ok(config.socket.path)
    }
}
