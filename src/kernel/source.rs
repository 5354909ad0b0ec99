//! Configurations as they are found: a `.config`, `/proc/config.gz`, or a kernel
//! that carries its own (CONFIG_IKCONFIG).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::Stream;

use super::config::Config;
use super::error::KernelError;

/// The most that is read of a file, and that a kernel may decompress to. A
/// kernel with everything built in and debug information has half of it.
const LARGEST_KERNEL: u64 = 1 << 30;
/// The most that a configuration has: the largest have 300 KB.
const LARGEST_CONFIG: u64 = 4 << 20;
/// The most memory for xz: kernels are compressed with windows of up to 128 MB.
const MEMORY: u64 = 256 << 20;

/// What kernel/configs.c puts around the compressed configuration.
const START: &[u8] = b"IKCFG_ST";
const END: &[u8] = b"IKCFG_ED";

impl Config {
    /// Reads the configuration in a file, whatever of the three it is.
    pub fn open(path: &Path) -> Result<Self, KernelError> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(KernelError::io("read", path))?;
        let bytes = limited(file, LARGEST_KERNEL)
            .map_err(KernelError::io("read", path))?
            .ok_or_else(|| too_large(&name, "the file", LARGEST_KERNEL))?;
        Self::from_bytes(&name, bytes)
    }

    /// Reads the configuration in a file's bytes; `name` is what messages call it.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self, KernelError> {
        let bytes = find(name, bytes)?;
        if bytes.len() as u64 > LARGEST_CONFIG {
            return Err(too_large(name, "the configuration", LARGEST_CONFIG));
        }
        let text = std::str::from_utf8(&bytes).map_err(|error| KernelError::NotText {
            file: name.to_owned(),
            offset: error.valid_up_to(),
        })?;
        Ok(Self::parse(name, text)?)
    }
}

/// The text of the configuration in a file.
fn find(name: &str, bytes: Vec<u8>) -> Result<Vec<u8>, KernelError> {
    if let Some(inner) = embedded(name, &bytes)? {
        return Ok(inner);
    }
    if let Some(payload) = bzimage_payload(&bytes) {
        let kernel = decompress(name, payload, LARGEST_KERNEL)?;
        return embedded(name, &kernel)?.ok_or_else(|| none_in(name));
    }
    if bytes.starts_with(b"\x1f\x8b") {
        // config.gz; or a vmlinux.gz, as other architectures boot them.
        let inner = decompress(name, &bytes, LARGEST_KERNEL)?;
        return match embedded(name, &inner)? {
            Some(config) => Ok(config),
            None if inner.starts_with(b"\x7fELF") => Err(none_in(name)),
            None => Ok(inner),
        };
    }
    match bytes.starts_with(b"\x7fELF") {
        true => Err(none_in(name)),
        false => Ok(bytes),
    }
}

/// The configuration that an uncompressed kernel carries.
fn embedded(name: &str, kernel: &[u8]) -> Result<Option<Vec<u8>>, KernelError> {
    // The marks' texts may be elsewhere too: what counts is the gzip behind one.
    for start in memchr(kernel, START) {
        let data = &kernel[start + START.len()..];
        if data.starts_with(b"\x1f\x8b")
            && let Some(end) = memchr(data, END).next()
        {
            return decompress(name, &data[..end], LARGEST_CONFIG).map(Some);
        }
    }
    Ok(None)
}

fn memchr<'a>(haystack: &'a [u8], needle: &'static [u8]) -> impl Iterator<Item = usize> + 'a {
    bstr::ByteSlice::find_iter(haystack, needle)
}

/// The compressed kernel in a bzImage (Documentation/x86/boot.rst, protocol 2.08).
fn bzimage_payload(image: &[u8]) -> Option<&[u8]> {
    let u16_at = |at: usize| Some(u16::from_le_bytes(image.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?));
    if u16_at(0x1fe)? != 0xaa55 || image.get(0x202..0x206)? != b"HdrS" || u16_at(0x206)? < 0x208 {
        return None;
    }
    // Zero stands for four.
    let sectors = match *image.get(0x1f1)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (sectors + 1) * 512 + usize::try_from(u32_at(0x248)?).ok()?;
    let length = usize::try_from(u32_at(0x24c)?).ok()?;
    image.get(start..start.checked_add(length)?)
}

/// Decompresses the stream that data begins with; what is behind it (a bzImage
/// has the size there) is left.
fn decompress(name: &str, data: &[u8], limit: u64) -> Result<Vec<u8>, KernelError> {
    let (compression, result) = match data {
        [0x1f, 0x8b, ..] => ("gzip", limited(GzDecoder::new(data), limit)),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => {
            ("xz", lzma(Stream::new_stream_decoder(MEMORY, 0), data, limit))
        }
        [0x5d, 0, 0, ..] => ("lzma", lzma(Stream::new_lzma_decoder(MEMORY), data, limit)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("zstd", zstd_frame(data, limit)),
        _ => {
            let compression = match data {
                [b'B', b'Z', b'h', ..] => "bzip2",
                [0x02, 0x21, 0x4c, 0x18, ..] => "lz4",
                [0x89, b'L', b'Z', b'O', ..] => "lzo",
                _ => "something unknown",
            };
            return Err(KernelError::Compression {
                file: name.to_owned(),
                compression,
            });
        }
    };
    let damaged = |source| KernelError::Damaged {
        file: name.to_owned(),
        compression,
        source,
    };
    result
        .map_err(damaged)?
        .ok_or_else(|| too_large(name, "what it decompresses to", limit))
}

fn lzma(
    stream: Result<Stream, liblzma::stream::Error>,
    data: &[u8],
    limit: u64,
) -> io::Result<Option<Vec<u8>>> {
    limited(XzDecoder::new_stream(data, stream?), limit)
}

fn zstd_frame(data: &[u8], limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut decoder = zstd::Decoder::with_buffer(data)?.single_frame();
    decoder.window_log_max(MEMORY.ilog2())?;
    limited(decoder, limit)
}

/// All of a stream; `None` if it is longer than the limit.
fn limited(input: impl Read, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    input.take(limit + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

fn too_large(name: &str, what: &'static str, limit: u64) -> KernelError {
    KernelError::TooLarge {
        file: name.to_owned(),
        what,
        limit,
    }
}

fn none_in(name: &str) -> KernelError {
    KernelError::NoIkconfig {
        file: name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::kernel::Value;

    const CONFIG: &[u8] = b"# Linux/x86 5.10.223 Kernel Configuration\nCONFIG_A=y\n";

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn xz(bytes: &[u8], stream: Stream) -> Vec<u8> {
        let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// A kernel with the marks' texts in its code too, as kernels have them.
    fn kernel(config: Option<&[u8]>) -> Vec<u8> {
        let mut kernel = b"\x7fELF code IKCFG_ST IKCFG_ED ".to_vec();
        if let Some(config) = config {
            kernel.extend([START, &gzip(config), END].concat());
        }
        kernel.extend(b" more");
        kernel
    }

    /// A bzImage of two setup sectors with the payload 16 bytes behind them.
    fn bzimage(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 3 * 512 + 16];
        image[0x1f1] = 2;
        image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
        image[0x248..0x24c].copy_from_slice(&16_u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        image.extend(payload);
        image.extend([0; 64]);
        image
    }

    #[test]
    fn a_configuration_is_found_wherever_it_is() {
        let kernel = kernel(Some(CONFIG));
        let size = [1, 2, 3, 4];
        let easy = Stream::new_easy_encoder(0, liblzma::stream::Check::Crc32).unwrap();
        let lzma = Stream::new_lzma_encoder(&liblzma::stream::LzmaOptions::new_preset(6).unwrap()).unwrap();
        for (what, bytes) in [
            (".config", CONFIG.to_vec()),
            ("config.gz", gzip(CONFIG)),
            ("vmlinux", kernel.clone()),
            ("vmlinux.gz", gzip(&kernel)),
            ("gzip", bzimage(&gzip(&kernel))),
            ("xz", bzimage(&[&xz(&kernel, easy)[..], &size].concat())),
            ("lzma", bzimage(&[&xz(&kernel, lzma)[..], &size].concat())),
            (
                "zstd",
                bzimage(&[&zstd::encode_all(&kernel[..], 1).unwrap()[..], &size].concat()),
            ),
        ] {
            let config = Config::from_bytes(what, bytes).unwrap();
            assert_eq!(config.get("A"), Some(&Value::YES), "{what}");
            assert_eq!(config.release(), Some("5.10.223"), "{what}");
        }
    }

    #[test]
    fn what_carries_none_is_told() {
        let bomb = gzip(&vec![b'#'; 5 << 20]);
        let mut cut = bzimage(&gzip(&kernel(Some(CONFIG))));
        cut[3 * 512 + 16 + 30] ^= 0xff;
        for (bytes, wanted) in [
            (kernel(None), "the kernel `f` does not carry its configuration"),
            (
                bzimage(&gzip(&kernel(None))),
                "the kernel `f` does not carry its configuration",
            ),
            (
                gzip(&kernel(None)),
                "the kernel `f` does not carry its configuration",
            ),
            (
                bzimage(&[0x02, 0x21, 0x4c, 0x18, 0, 0]),
                "the kernel `f` is compressed with lz4, which is not read here",
            ),
            (
                bzimage(b"\x89LZO\0\r\n\x1a\n"),
                "the kernel `f` is compressed with lzo, which is not read here",
            ),
            (
                bzimage(b"BZh9"),
                "the kernel `f` is compressed with bzip2, which is not read here",
            ),
            (
                bzimage(b"??"),
                "the kernel `f` is compressed with something unknown, which is not read here",
            ),
            (cut, "`f`: the gzip data is damaged"),
            (gzip(CONFIG)[..20].to_vec(), "`f`: the gzip data is damaged"),
            (bomb, "`f`: the configuration has more than 4194304 bytes"),
            (
                b"CONFIG_A=y\n\xff".to_vec(),
                "`f` is neither a configuration nor a kernel: byte 11 is no UTF-8 text",
            ),
        ] {
            let error = Config::from_bytes("f", bytes).unwrap_err();
            assert_eq!(error.to_string(), wanted);
        }
        // A length that ends nowhere: then it is no image, and no text either.
        let mut image = bzimage(b"");
        image[0x24c..0x250].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(
            Config::from_bytes("f", image),
            Err(KernelError::NotText { .. } | KernelError::Invalid(_))
        ));
    }
}
