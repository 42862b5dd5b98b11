//! Unix sockets that only their owner may open.

use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// A Unix socket that cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Another process answers on it.
    #[error("{path} is in use by another process; stop it or configure another path")]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else is in its place, which is not to be lost.
    #[error("{path} is there already and is no socket; configure another path, or move it away")]
    NoSocket {
        /// What is there.
        path: PathBuf,
    },
    /// The machine refused.
    #[error("cannot make the socket {path}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the machine said.
        source: std::io::Error,
    },
}

/// Makes a listening Unix socket of mode 0600; replaces one that a dead process left behind.
///
/// Must be called on a tokio runtime.
///
/// # Errors
/// [`SocketError`], which names the path.
pub fn bind_private(path: &Path) -> Result<UnixListener, SocketError> {
    let failed = |source| SocketError::Io { path: path.to_owned(), source };
    if UnixStream::connect(path).is_ok() {
        return Err(SocketError::InUse { path: path.to_owned() });
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path).map_err(failed)?,
        Ok(_) => return Err(SocketError::NoSocket { path: path.to_owned() }),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(source) => return Err(failed(source)),
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_private_and_refuses_a_second_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");

        let _listener = bind_private(&path).unwrap();
        let second = bind_private(&path).unwrap_err();

        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(second, SocketError::InUse { .. }));
    }

    #[tokio::test]
    async fn a_file_in_the_place_of_the_socket_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hub.toml");
        std::fs::write(&path, "region").unwrap();

        let refused = bind_private(&path).unwrap_err();

        assert!(matches!(refused, SocketError::NoSocket { .. }), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "region");
    }

    #[tokio::test]
    async fn a_socket_left_behind_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");

        drop(bind_private(&path).unwrap());

        assert!(bind_private(&path).is_ok());
    }
}
