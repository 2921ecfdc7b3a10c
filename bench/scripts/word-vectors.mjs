// Word vectors from the JSON of the npm package as two .npy files of little-endian f32 rows.
//
//   node word-vectors.mjs JSON WORDS_NPY QUERIES_NPY QUERIES
//
// QUERIES rows are held out as queries: those whose row number has the smallest SHA-256, in the
// order of the hashes. They are spread evenly, the same everywhere, and not ordered by frequency.
// All other rows keep the order of the package, which is by frequency.
import { createHash } from 'node:crypto';
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { endianness } from 'node:os';

function fail(sentence) {
    console.error(`word-vectors: ${sentence}`);
    process.exit(1);
}

// Numbers of the rows held out, of `rows`.
function heldOut(rows, queries) {
    const hash = (row) => createHash('sha256').update(String(row)).digest('hex');
    const hashed = Array.from({ length: rows }, (_, row) => [hash(row), row]);
    hashed.sort(([a], [b]) => (a < b ? -1 : 1));
    return hashed.slice(0, queries).map(([, row]) => row);
}

// Version 1.0 of the format; the header ends at a multiple of 64 bytes.
function npyHeader(rows, dims) {
    const fields = `{'descr': '<f4', 'fortran_order': False, 'shape': (${rows}, ${dims}), }`;
    const bytes = Math.ceil((10 + fields.length + 1) / 64) * 64;
    const header = Buffer.alloc(bytes, ' ');
    header.write('\x93NUMPY\x01\x00', 'latin1');
    header.writeUInt16LE(bytes - 10, 8);
    header.write(fields, 10);
    header.write('\n', bytes - 1);
    return header;
}

function writeNpy(path, vectors, dims) {
    const file = openSync(path, 'w');
    writeSync(file, npyHeader(vectors.length, dims));
    const rowsPerWrite = 10_000;
    for (let first = 0; first < vectors.length; first += rowsPerWrite) {
        const some = vectors.slice(first, first + rowsPerWrite);
        const values = new Float32Array(some.length * dims);
        some.forEach((vector, at) => values.set(vector.slice(0, dims), at * dims));
        const bytes = Buffer.from(values.buffer);
        for (let written = 0; written < bytes.length;) {
            written += writeSync(file, bytes, written);
        }
    }
    closeSync(file);
}

if (process.argv.length !== 6) {
    fail('usage: node word-vectors.mjs JSON WORDS_NPY QUERIES_NPY QUERIES');
}
const [json, wordsPath, queriesPath, queries] = process.argv.slice(2);
if (endianness() !== 'LE') {
    fail('this machine is big-endian, and the files are written as memory has them; use another');
}
// Read as bytes: the words are not needed, and such a string takes half the memory.
const { size, dimensions, wordIndex, vectors } = JSON.parse(readFileSync(json, 'latin1'));
// An object puts keys that are numbers first, so each vector carries its row number.
const rows = new Array(size).fill(null);
for (const vector of Object.values(vectors)) {
    rows[vector[wordIndex]] = vector;
}
const absent = rows.findIndex((vector) => vector === null || vector.length < dimensions);
if (absent !== -1 || rows.length !== size) {
    fail(`${json} says it has ${size} vectors of ${dimensions}, but word ${absent} has none; fetch it again`);
}
const held = heldOut(size, Number(queries));
const isHeld = new Set(held);
writeNpy(wordsPath, rows.filter((_, row) => !isHeld.has(row)), dimensions);
writeNpy(queriesPath, held.map((row) => rows[row]), dimensions);
