//! A web server that holds files, and can stop in the middle of one.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

/// The server; it is gone when dropped.
pub(crate) struct Mirror {
    address: SocketAddr,
    stalled: Receiver<String>,
}

/// What is told to the thread that takes connections in.
const STOP: &str = "/stop";

impl Mirror {
    /// A server of files, by their paths with `/` in front.
    pub(crate) fn of(files: BTreeMap<String, Vec<u8>>) -> Self {
        Self::start(files, false)
    }

    /// One that sends the first half of each file, and then nothing for as long
    /// as the client stays.
    pub(crate) fn stalling(files: BTreeMap<String, Vec<u8>>) -> Self {
        Self::start(files, true)
    }

    fn start(files: BTreeMap<String, Vec<u8>>, stall: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, stalled) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (files, tell) = (files.clone(), stall.then(|| tell.clone()));
                let (path, stream) = request(stream.unwrap());
                if path == STOP {
                    return;
                }
                // A client that goes away in the middle is part of the game.
                thread::spawn(move || answer(&path, stream, &files, tell.as_ref()));
            }
        });
        Self { address, stalled }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until half a file has been sent, and tells its path.
    pub(crate) fn wait_for_stall(&self) -> String {
        self.stalled.recv().unwrap()
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream
            .write_all(format!("GET {STOP} HTTP/1.1\r\n\r\n").as_bytes())
            .unwrap();
        // Ends when the listener is closed.
        let _ = stream.read(&mut [0]);
    }
}

/// The path that is asked for, without the query.
fn request(stream: TcpStream) -> (String, TcpStream) {
    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    let target = first.split(' ').nth(1).unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default().to_owned();
    (path, stream)
}

fn answer(
    path: &str,
    mut stream: TcpStream,
    files: &BTreeMap<String, Vec<u8>>,
    tell: Option<&Sender<String>>,
) -> std::io::Result<()> {
    let Some(body) = files.get(path) else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    let Some(tell) = tell else {
        return stream.write_all(body);
    };
    stream.write_all(&body[..body.len() / 2])?;
    // Nobody may be waiting any more.
    let _ = tell.send(path.to_owned());
    // Ends when the client closes the connection.
    stream.read(&mut [0]).map(drop)
}
