"""Searches by vector with faiss and prints one JSON record: the rate beside its recall.

    python3 -m pip install -r bench/peers/faiss/requirements.txt
    python3 bench/peers/faiss/vector_search.py words.npy --queries queries.npy --partitions 512 --nprobes 20

All of it is in memory: an inverted file of product-quantised residuals (IndexIVFPQ, or its
fast-scan kind with 4-bit codes) finds k x refine-factor candidates, and the exact distances of
these (IndexRefineFlat) decide. Each thread asks one query at a time, in a closed loop, and a
query is answered by the thread that asks it.

--index FILE keeps the index for the next run; the vectors themselves are read each time. Recall is
the share of the k exact neighbours that were found; without --truth they are computed and kept
beside the queries.
"""

import argparse
import json
import math
import os
import sys
import threading
import time
from pathlib import Path

try:
    import faiss
    import numpy as np
except ImportError as missing:
    sys.exit(
        f"vector_search: the Python module {missing.name} is missing; "
        f"python3 -m pip install -r {Path(__file__).with_name('requirements.txt')}"
    )

# Rows converted at a time.
CHUNK_ROWS = 65_536
# A product quantiser of 8 bits learns this many values for each part of a vector.
TRAIN_ROWS_MIN = 256
# Rows and queries looked at to tell files that belong to other vectors.
PROBE_ROWS = 64
PROBE_QUERIES = 4


class Refusal(Exception):
    """What was given cannot be measured: one sentence that says why and what to do."""


def array_of(path, what):
    """The two-dimensional array of floats in a .npy file, mapped."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise Refusal(f"{what} {path} cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError):
        raise Refusal(f"{what} {path} is not a .npy array of numbers") from None
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind != "f":
        raise Refusal(f"{what} {path} must be a .npy array of floats in two dimensions: rows, then values")
    if 0 in array.shape:
        raise Refusal(f"{what} {path} holds no values: its shape is {array.shape}")
    return array


def prepared(rows, metric, path, first_row):
    """Rows as f32 in memory; of length 1 for the cosine, whose order is then that of L2."""
    rows = np.array(rows, dtype=np.float32, order="C")
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise Refusal(f"row {first_row + int(np.argmin(finite))} of {path} has a value that is not finite")
    if metric == "cosine":
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        if not lengths.all():
            raise Refusal(f"row {first_row + int(np.argmin(lengths))} of {path} is zero and has no cosine; use another metric")
        rows /= lengths
    return rows


def faiss_metric(metric):
    return faiss.METRIC_INNER_PRODUCT if metric == "dot" else faiss.METRIC_L2


class Vectors:
    """The rows to search in, in memory once: the exact index owns them, `rows` looks at them."""

    def __init__(self, path, metric):
        self.path, self.metric = path, metric
        array = array_of(path, "vectors")
        self.count, self.dims = array.shape
        self.exact = faiss.IndexFlat(self.dims, faiss_metric(metric))
        for first in range(0, self.count, CHUNK_ROWS):
            self.exact.add(prepared(array[first : first + CHUNK_ROWS], metric, path, first))
        floats = faiss.rev_swig_ptr(self.exact.get_xb(), self.count * self.dims)
        self.rows = floats.reshape(self.count, self.dims)


def code_shape(code, code_bytes, dims):
    """Parts of a vector and bits of each, for a number of bytes per row."""
    parts, bits = (code_bytes, 8) if code == "pq8" else (2 * code_bytes, 4)
    if dims % parts:
        fitting = [b for b in range(1, dims + 1) if dims % (b if code == "pq8" else 2 * b) == 0]
        if not fitting:
            raise Refusal(f"{dims} dimensions cannot be split in pairs of 4 bits; use --code pq8")
        raise Refusal(
            f"vectors of {dims} dimensions cannot be split for codes of {code_bytes} bytes; "
            f"give --code-bytes one of {', '.join(map(str, fitting))}"
        )
    return parts, bits


def built(vectors, options):
    """The index over all rows, and the seconds it took."""
    parts, bits = code_shape(options.code, options.code_bytes, vectors.dims)
    train_rows_min = max(TRAIN_ROWS_MIN, options.partitions)
    if vectors.count < train_rows_min:
        raise Refusal(f"{vectors.path} has {vectors.count} rows; these partitions and codes need {train_rows_min} to learn from")
    metric = faiss_metric(vectors.metric)
    start = time.monotonic()
    centroids = faiss.IndexFlat(vectors.dims, metric)
    kind = faiss.IndexIVFPQ if options.code == "pq8" else faiss.IndexIVFPQFastScan
    index = kind(centroids, vectors.dims, options.partitions, parts, bits, metric)
    index.by_residual = True
    # The centroids go where the index goes.
    centroids.this.disown()
    index.own_fields = True
    index.train(vectors.rows)
    for first in range(0, vectors.count, CHUNK_ROWS):
        index.add(vectors.rows[first : first + CHUNK_ROWS])
    return index, time.monotonic() - start


def keep(index, path):
    partial = f"{path}.partial"
    try:
        faiss.write_index(index, partial)
    except RuntimeError:
        raise Refusal(f"the index cannot be written to {path}; give --index another file") from None
    os.replace(partial, path)


def loaded(vectors, options):
    """The index that an earlier run has kept, if it is one of these vectors and options."""
    try:
        index = faiss.read_index(str(options.index))
    except RuntimeError:
        raise Refusal(f"{options.index} is not an index that faiss {faiss.__version__} can read; remove it to build another") from None
    parts, bits = code_shape(options.code, options.code_bytes, vectors.dims)
    kind = faiss.IndexIVFPQ if options.code == "pq8" else faiss.IndexIVFPQFastScan
    wanted = (vectors.count, vectors.dims, faiss_metric(vectors.metric), options.partitions, parts, bits)
    there = isinstance(index, kind) and (
        index.ntotal,
        index.d,
        index.metric_type,
        index.nlist,
        index.pq.M,
        index.pq.nbits,
    )
    if there != wanted or not holds(index, vectors.rows):
        raise Refusal(f"{options.index} is an index of other vectors or of other options; remove it to build another")
    return index


def holds(index, rows):
    """Whether what the index finds near to rows is where it says: nearer to that than to others.

    faiss can also decode the codes of given rows, but ends the process where it is to do so in a
    fast-scan index that was loaded.
    """
    some = rows[np.linspace(0, len(rows) - 1, PROBE_ROWS).astype(np.int64)]
    index.nprobe = 1
    said, ids = (found[:, 0] for found in index.search(some, 1))
    if (ids < 0).any():
        return False

    def apart(ids):
        dot = index.metric_type == faiss.METRIC_INNER_PRODUCT
        exact = (some * rows[ids]).sum(axis=1) if dot else np.square(some - rows[ids]).sum(axis=1)
        return np.abs(said - exact).sum()

    return apart(ids) < 0.75 * apart(np.roll(ids, 1))


def neighbours_in(path, what):
    """Row ids of exact neighbours, a line for each query, of a .npy or .ivecs file."""
    if path.suffix == ".ivecs":
        try:
            words = np.fromfile(path, dtype="<i4")
        except OSError as error:
            raise Refusal(f"{what} {path} cannot be read: {error.strerror or error}") from None
        width = int(words[0]) + 1 if len(words) else 0
        if width < 2 or len(words) % width or (words[::width] != width - 1).any():
            raise Refusal(f"{what} {path} is not an .ivecs file of lists of one length")
        return words.reshape(-1, width)[:, 1:]
    try:
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise Refusal(f"{what} {path} cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError):
        raise Refusal(f"{what} {path} is not a .npy array of row ids") from None
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind not in "iu":
        raise Refusal(f"{what} {path} must be a .npy array of row ids in two dimensions: queries, then neighbours")
    return array


def truth_of(vectors, queries, options):
    """The k exact neighbours of each query: from a file, or computed and kept for the next run."""
    path = options.truth or options.queries.with_name(f"{options.queries.stem}.truth.{options.metric}.k{options.k}.npy")
    if options.truth is None and not path.exists():
        truth = exact_neighbours(vectors, queries, options.k)
        partial = path.with_name(path.name + ".partial")
        with open(partial, "wb") as file:
            np.save(file, truth)
        os.replace(partial, path)
        return truth
    truth = neighbours_in(path, "truth")
    if len(truth) > len(queries) or truth.shape[1] < options.k:
        raise Refusal(f"truth {path} must have {options.k} neighbours or more for the first of {len(queries)} queries; its shape is {truth.shape}")
    truth = truth[:, : options.k]
    some = np.unique(np.linspace(0, len(truth) - 1, PROBE_QUERIES).astype(np.int64))
    # Rows at equal distances may stand for one another.
    if recall(truth[some], exact_neighbours(vectors, queries[some], options.k)) < 0.9:
        raise Refusal(f"truth {path} is not that of these vectors, queries and metric; give another, or remove it")
    return truth


def refining(index, vectors, refine_factor):
    """Search in the index, then by exact distances.

    The constructor is for an empty index, whose rows it would keep once more; so it is given
    one, and the two that have the rows then take its place.
    """
    empty = faiss.IndexFlat(index.d, index.metric_type)
    refined = faiss.IndexRefineFlat(empty)
    refined.base_index, refined.own_fields = index, False
    refined.refine_index, refined.own_refine_index = vectors.exact, False
    refined.ntotal = index.ntotal
    refined.k_factor = refine_factor
    return refined


def exact_neighbours(vectors, queries, k):
    return vectors.exact.search(queries, k)[1]


def recall(found, truth):
    """The share of the true neighbours that were found, whatever their order."""
    hits = sum(len(np.intersect1d(some, all_of)) for some, all_of in zip(found, truth))
    return hits / truth.size


def timed(index, queries, options):
    """Asks for the given seconds from each thread; latencies in ns, seconds, and CPU seconds."""
    lists = [[] for _ in range(options.threads)]
    failures = []
    barrier = threading.Barrier(options.threads + 1)

    def ask(thread):
        # OpenMP keeps this number for each thread that asks.
        faiss.omp_set_num_threads(1)
        latencies_ns = lists[thread]
        at = thread * len(queries) // options.threads
        barrier.wait()
        try:
            until = time.monotonic_ns() + int(options.seconds * 1e9)
            before = time.monotonic_ns()
            while before < until:
                index.search(queries[at : at + 1], options.k)
                after = time.monotonic_ns()
                latencies_ns.append(after - before)
                before = after
                at = (at + 1) % len(queries)
        except Exception as failure:
            failures.append(failure)

    threads = [threading.Thread(target=ask, args=(thread,)) for thread in range(options.threads)]
    for thread in threads:
        thread.start()
    barrier.wait()
    start, cpu = time.monotonic(), time.process_time()
    for thread in threads:
        thread.join()
    seconds, cpu_seconds = time.monotonic() - start, time.process_time() - cpu
    if failures:
        raise failures[0]
    return np.concatenate([np.array(some) for some in lists]), seconds, cpu_seconds


def measure(options):
    """Everything from the files to the record."""
    vectors = Vectors(options.vectors, options.metric)
    queries = array_of(options.queries, "queries")
    if queries.shape[1] != vectors.dims:
        raise Refusal(f"queries of {queries.shape[1]} dimensions do not go with vectors of {vectors.dims}")
    queries = prepared(queries, options.metric, options.queries, 0)
    if options.k > vectors.count:
        raise Refusal(f"{options.vectors} has {vectors.count} rows, fewer than k, {options.k}")
    options.partitions = options.partitions or round(math.sqrt(vectors.count))
    if options.code_bytes is None:
        if vectors.dims % 4:
            raise Refusal(f"a quarter of {vectors.dims} dimensions is no whole number of bytes; give --code-bytes")
        options.code_bytes = vectors.dims // 4
    options.nprobes = min(options.nprobes, options.partitions)

    build_seconds = None
    if options.index is not None and options.index.exists():
        index = loaded(vectors, options)
    else:
        index, build_seconds = built(vectors, options)
        if options.index is not None:
            keep(index, options.index)
    truth = truth_of(vectors, queries, options)

    index.nprobe = options.nprobes
    searched = refining(index, vectors, options.refine_factor)
    recall_at_k = recall(searched.search(queries[: len(truth)], options.k)[1], truth)
    latencies_ns, seconds, cpu_seconds = timed(searched, queries, options)
    return {
        "workload": "peer-search",
        "read_path": "faiss",
        # There is no file to read from once the clock starts.
        "cache": "warm",
        "valid": True,
        "faiss_version": faiss.__version__,
        "rows": vectors.count,
        "dims": vectors.dims,
        "metric": options.metric,
        "partitions": options.partitions,
        "code": options.code,
        "code_bytes_per_row": index.code_size,
        "index_bytes_per_row": index.code_size + np.dtype(np.int64).itemsize,
        "k": options.k,
        "nprobes": options.nprobes,
        "refine_factor": options.refine_factor,
        "threads": options.threads,
        "seconds": round(seconds, 3),
        "queries": len(latencies_ns),
        "queries_per_s": round(len(latencies_ns) / seconds, 1),
        "cpu_us_per_query": round(cpu_seconds * 1e6 / len(latencies_ns), 1),
        "recall_at_k": round(recall_at_k, 4),
        "latency_us": {f"p{p}": round(float(np.percentile(latencies_ns, p)) / 1e3, 1) for p in (50, 99)},
        "build_seconds": None if build_seconds is None else round(build_seconds, 1),
    }


def count(text):
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 1 up")
    return number


def duration(text):
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds above 0")
    return seconds


def parsed(arguments):
    flags = argparse.ArgumentParser(prog="vector_search.py", allow_abbrev=False, description=__doc__.splitlines()[0])
    flags.add_argument("vectors", type=Path, help="rows to search in: a .npy file of floats")
    flags.add_argument("--queries", type=Path, required=True, help="queries: a .npy file of floats")
    flags.add_argument("--truth", type=Path, help="exact neighbours of each query, .ivecs or .npy; else computed and kept beside the queries")
    flags.add_argument("--index", type=Path, help="file the index is kept in; loaded if it is there")
    flags.add_argument("--metric", choices=["l2", "cosine", "dot"], default="l2")
    flags.add_argument("--partitions", type=count, help="default: the square root of the rows")
    flags.add_argument("--code", choices=["pq8", "pq4"], default="pq8", help="product quantiser of 8 bits, or of 4 with fast scan")
    flags.add_argument("--code-bytes", type=count, help="bytes of code a row; default: a quarter of the dimensions")
    flags.add_argument("--k", type=count, default=50)
    flags.add_argument("--nprobes", type=count, default=20)
    flags.add_argument("--refine-factor", type=count, default=10)
    flags.add_argument("--threads", type=count, default=len(os.sched_getaffinity(0)), help="default: one for each core")
    flags.add_argument("--seconds", type=duration, default=10.0)
    return flags.parse_args(arguments)


def main(arguments=None):
    try:
        record = measure(parsed(arguments))
    except Refusal as refusal:
        print(f"vector_search: {refusal}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"vector_search: {error.filename or 'a file'} cannot be written: {error.strerror or error}", file=sys.stderr)
        return 1
    print(json.dumps(record))
    return 0


if __name__ == "__main__":
    sys.exit(main())
