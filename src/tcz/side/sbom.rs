//! `NAME.tcz.spdx.json`: which upstream files an extension is made of, with
//! their sums and licences, as SPDX 2.3.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Dependency;
use crate::digest::Sha256;

/// What the comment begins with that tells the sum of the inputs.
const INPUTS: &str = "Recipe, scripts and upstream files together: sha256 ";
/// What the information on an upstream file begins with.
const VOUCHED: &str = "Who says that this is its sha256: ";
const NOT_KNOWN: &str = "NOASSERTION";

/// One upstream file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// The version of what is in it.
    pub version: String,
    /// Where it comes from; `None` for a local file.
    pub url: Option<String>,
    /// Its sum.
    pub sha256: Sha256,
    /// Who says that this is its sum; `None` for a local file.
    pub vouched: Option<String>,
    /// Its licence: an SPDX expression.
    pub license: String,
}

/// What the document says.
#[derive(Debug, Clone)]
pub struct Sbom<'a> {
    /// The extension's file name.
    pub file_name: &'a str,
    /// The version of what is in it.
    pub version: &'a str,
    /// What it is.
    pub description: &'a str,
    /// Home page of the program.
    pub site: &'a str,
    /// Its licence: an SPDX expression.
    pub license: &'a str,
    /// The image's sum.
    pub sha256: Sha256,
    /// What it is made of.
    pub upstream: &'a [Upstream],
    /// One sum of that and of recipe and scripts.
    pub inputs: Option<Sha256>,
    /// What it needs.
    pub dependencies: &'a [Dependency],
    /// When it was made, in seconds since 1970: SOURCE_DATE_EPOCH.
    pub created: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    spdx_version: &'static str,
    data_license: &'static str,
    #[serde(rename = "SPDXID")]
    id: &'static str,
    name: String,
    document_namespace: String,
    creation_info: CreationInfo,
    packages: Vec<Package>,
    relationships: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    has_extracted_licensing_infos: Vec<Value>,
}

#[derive(Serialize, Deserialize)]
struct CreationInfo {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    created: String,
    creators: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Package {
    #[serde(rename = "SPDXID")]
    id: String,
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    version_info: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    package_file_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    homepage: String,
    download_location: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    source_info: String,
    files_analyzed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checksums: Vec<Value>,
    license_concluded: &'static str,
    license_declared: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    license_comments: String,
    copyright_text: &'static str,
}

impl Sbom<'_> {
    /// The document's text. The same input gives the same bytes.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let mut text = serde_json::to_string_pretty(&self.document())?;
        text.push('\n');
        Ok(text)
    }

    /// The sum of the inputs that a document tells.
    pub fn inputs_of(document: &[u8]) -> Option<Sha256> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Told {
            creation_info: CreationInfo,
        }
        let told: Told = serde_json::from_slice(document).ok()?;
        told.creation_info.comment?.strip_prefix(INPUTS)?.parse().ok()
    }

    fn document(&self) -> Document {
        let created = jiff::Timestamp::from_second(i64::from(self.created)).unwrap_or_default();
        Document {
            spdx_version: "SPDX-2.3",
            data_license: "CC0-1.0",
            id: "SPDXRef-DOCUMENT",
            name: format!("{}-{}", self.file_name, self.version),
            // Has to be unique to the document and needs not lead anywhere.
            document_namespace: format!("https://spdx.org/spdxdocs/{}-{}", self.file_name, self.sha256),
            creation_info: CreationInfo {
                comment: self.inputs.map(|sum| format!("{INPUTS}{sum}")),
                created: created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                creators: vec![format!("Tool: tcforge-{}", env!("CARGO_PKG_VERSION"))],
            },
            packages: self.packages(),
            relationships: self.relationships(),
            has_extracted_licensing_infos: self.own_licenses(),
        }
    }

    fn packages(&self) -> Vec<Package> {
        let extension = Package {
            version_info: self.version.to_owned(),
            package_file_name: self.file_name.to_owned(),
            description: self.description.to_owned(),
            homepage: web_address(self.site).unwrap_or_default().to_owned(),
            checksums: checksum(self.sha256),
            ..Package::new("SPDXRef-Extension".into(), self.file_name, self.license)
        };
        let upstream = self.upstream.iter().enumerate().map(|(number, file)| {
            let url = file.url.as_deref().and_then(web_address);
            Package {
                version_info: file.version.clone(),
                package_file_name: file.name.clone(),
                download_location: url.unwrap_or(NOT_KNOWN).to_owned(),
                source_info: file.vouched.iter().map(|who| format!("{VOUCHED}{who}")).collect(),
                checksums: checksum(file.sha256),
                ..Package::new(upstream_id(number), &file.name, &file.license)
            }
        });
        let needed = self.dependencies.iter().enumerate();
        let needed =
            needed.map(|(number, dependency)| Package::new(needed_id(number), dependency.name(), ""));
        std::iter::once(extension).chain(upstream).chain(needed).collect()
    }

    fn relationships(&self) -> Vec<Value> {
        let relation = |from: &str, kind: &str, to: String| {
            json!({
                "spdxElementId": from,
                "relationshipType": kind,
                "relatedSpdxElement": to,
            })
        };
        let extension = "SPDXRef-Extension";
        let mut all = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", extension.into())];
        all.extend((0..self.upstream.len()).map(|n| relation(extension, "GENERATED_FROM", upstream_id(n))));
        all.extend((0..self.dependencies.len()).map(|n| relation(extension, "DEPENDS_ON", needed_id(n))));
        all
    }

    /// Licences that SPDX has no name for (`LicenseRef-…`) must be explained.
    fn own_licenses(&self) -> Vec<Value> {
        let expressions = self.upstream.iter().map(|file| file.license.as_str());
        let names: BTreeSet<&str> = std::iter::once(self.license)
            .chain(expressions)
            .filter(|text| is_license(text))
            .flat_map(|text| text.split([' ', '(', ')']))
            .filter(|word| word.starts_with("LicenseRef-"))
            .collect();
        let explain = |name: &str| {
            json!({
                "licenseId": name,
                "name": name.trim_start_matches("LicenseRef-"),
                "extractedText": format!("See the licence that comes with {} ({}).", self.file_name, self.site),
            })
        };
        names.into_iter().map(explain).collect()
    }
}

impl Package {
    fn new(id: String, name: &str, license: &str) -> Self {
        let known = is_license(license);
        Self {
            id,
            name: name.to_owned(),
            version_info: String::new(),
            package_file_name: String::new(),
            description: String::new(),
            homepage: String::new(),
            download_location: NOT_KNOWN.to_owned(),
            source_info: String::new(),
            files_analyzed: false,
            checksums: Vec::new(),
            license_concluded: NOT_KNOWN,
            license_declared: if known { license } else { NOT_KNOWN }.to_owned(),
            license_comments: if known { "" } else { license }.to_owned(),
            copyright_text: NOT_KNOWN,
        }
    }
}

fn is_license(text: &str) -> bool {
    spdx::Expression::parse(text).is_ok()
}

fn checksum(sha256: Sha256) -> Vec<Value> {
    vec![json!({ "algorithm": "SHA256", "checksumValue": sha256.to_string() })]
}

fn upstream_id(number: usize) -> String {
    format!("SPDXRef-Upstream-{}", number + 1)
}

fn needed_id(number: usize) -> String {
    format!("SPDXRef-Needed-{}", number + 1)
}

fn web_address(text: &str) -> Option<&str> {
    let known = text.starts_with("https://") || text.starts_with("http://");
    (known && !text.contains(char::is_whitespace)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(license: &str, url: Option<&str>) -> Upstream {
        Upstream {
            name: "runc.amd64".into(),
            version: "1.1.4".into(),
            url: url.map(str::to_owned),
            sha256: Sha256::of(b"runc"),
            vouched: url.map(|_| "upstream's own list, first seen on 2026-01-31".into()),
            license: license.into(),
        }
    }

    fn document(license: &str, upstream: &[Upstream]) -> Value {
        let sbom = Sbom {
            file_name: "runc.tcz",
            version: "1.1.4",
            description: "Runs containers",
            site: "https://github.com/opencontainers/runc",
            license,
            sha256: Sha256::of(b"image"),
            upstream,
            inputs: Some(Sha256::of(b"inputs")),
            dependencies: &[Dependency::parse("libseccomp.tcz").unwrap()],
            created: 1_583_020_800,
        };
        let text = sbom.to_json().unwrap();
        assert_eq!(text, sbom.to_json().unwrap());
        assert_eq!(Sbom::inputs_of(text.as_bytes()), sbom.inputs);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_document_says_what_is_in_an_extension() {
        let url = "https://github.com/opencontainers/runc/releases/download/v1.1.4/runc.amd64";
        let document = document("Apache-2.0", &[upstream("Apache-2.0", Some(url))]);
        assert_eq!(document["spdxVersion"], "SPDX-2.3");
        assert_eq!(document["creationInfo"]["created"], "2020-03-01T00:00:00Z");
        let file = &document["packages"][1];
        assert_eq!(file["downloadLocation"], url);
        assert_eq!(
            file["checksums"][0]["checksumValue"],
            Sha256::of(b"runc").to_string()
        );
        assert_eq!(
            file["sourceInfo"],
            "Who says that this is its sha256: upstream's own list, first seen on 2026-01-31"
        );
        assert_eq!(file["licenseDeclared"], "Apache-2.0");
        let kinds: Vec<_> = document["relationships"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["relationshipType"].as_str().unwrap())
            .collect();
        assert_eq!(kinds, ["DESCRIBES", "GENERATED_FROM", "DEPENDS_ON"]);
    }

    #[test]
    fn what_spdx_cannot_say_is_not_asserted() {
        let files = [
            upstream("as is, mostly", None),
            upstream("MIT OR LicenseRef-CE", Some("file:///tmp/x")),
        ];
        let document = document("LicenseRef-CE AND MIT", &files);
        assert_eq!(document["packages"][1]["licenseDeclared"], "NOASSERTION");
        assert_eq!(document["packages"][1]["licenseComments"], "as is, mostly");
        assert_eq!(document["packages"][1]["downloadLocation"], "NOASSERTION");
        assert_eq!(document["packages"][1].get("sourceInfo"), None);
        assert_eq!(document["packages"][2]["downloadLocation"], "NOASSERTION");
        let own = document["hasExtractedLicensingInfos"].as_array().unwrap();
        assert_eq!(own.len(), 1);
        assert_eq!(own[0]["licenseId"], "LicenseRef-CE");
    }
}
