"use strict";

// What code-server asks of the package argon2, done by node's own crypto (24.7 and later):
// the package's native module needs GLIBC_2.34, and Tiny Core 11 has 2.30. code-server loads
// it at its start, and ends if it cannot.

const crypto = require("node:crypto");
const { promisify } = require("node:util");

const derive = promisify(crypto.argon2);

// What the package itself chooses: memory in KiB, passes, lanes.
const CHOICE = { m: 65536, t: 3, p: 4 };
const NONCE_BYTES = 16;
const TAG_BYTES = 32;

// $argon2id$v=19$m=65536,t=3,p=4$NONCE$TAG, in base64 without padding.
const FORM = /^\$(argon2(?:id|i|d))\$v=19\$([mtp=,0-9]+)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/;

function tagOf(kind, password, nonce, cost, tagLength) {
    return derive(kind, {
        message: password,
        nonce,
        tagLength,
        memory: cost.m,
        passes: cost.t,
        parallelism: cost.p,
    });
}

const encode = (bytes) => bytes.toString("base64").replace(/=+$/, "");

async function hash(password) {
    const nonce = crypto.randomBytes(NONCE_BYTES);
    const tag = await tagOf("argon2id", password, nonce, CHOICE, TAG_BYTES);
    const cost = Object.entries(CHOICE).map((pair) => pair.join("="));
    return `$argon2id$v=19$${cost.join(",")}$${encode(nonce)}$${encode(tag)}`;
}

async function verify(hashed, password) {
    const parts = FORM.exec(hashed);
    if (!parts) {
        throw new TypeError("this is no hash of argon2, version 1.3");
    }
    const [, kind, costs, nonce, tag] = parts;
    const cost = Object.fromEntries(costs.split(",").map((pair) => pair.split("=")));
    const wanted = Buffer.from(tag, "base64");
    const numbers = { m: Number(cost.m), t: Number(cost.t), p: Number(cost.p) };
    const found = await tagOf(kind, password, Buffer.from(nonce, "base64"), numbers, wanted.length);
    return crypto.timingSafeEqual(found, wanted);
}

module.exports = { hash, verify };
