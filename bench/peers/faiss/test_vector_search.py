"""Checks on tiny vectors: cd bench/peers/faiss && python3 -m unittest"""

import contextlib
import io
import json
import tempfile
import unittest
from pathlib import Path

import faiss
import numpy as np

import vector_search

ROWS, QUERIES, DIMS = 2_000, 20, 16


def setUpModule():
    # So little work is slower shared, far slower on a busy machine.
    faiss.omp_set_num_threads(1)


class VectorSearch(unittest.TestCase):
    def setUp(self):
        kept = tempfile.TemporaryDirectory()
        self.addCleanup(kept.cleanup)
        self.dir = Path(kept.name)
        self.rows = self.vectors(ROWS, seed=1)
        self.queries = self.vectors(QUERIES, seed=2)
        np.save(self.dir / "rows.npy", self.rows)
        np.save(self.dir / "queries.npy", self.queries)

    def vectors(self, rows, seed):
        return np.random.default_rng(seed).standard_normal((rows, DIMS), dtype=np.float32)

    def run_on(self, *flags, rows="rows.npy", queries="queries.npy"):
        """Exit code, standard output, standard error."""
        arguments = [self.dir / rows, "--queries", self.dir / queries]
        arguments += ["--partitions", 8, "--nprobes", 8, "--k", 10, "--seconds", 0.05, "--threads", 2, *flags]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = vector_search.main([str(argument) for argument in arguments])
        return code, out.getvalue(), err.getvalue()

    def record(self, *flags):
        code, out, err = self.run_on(*flags)
        self.assertEqual((code, err), (0, ""))
        return json.loads(out)

    def refusal(self, *flags, **files):
        code, out, err = self.run_on(*flags, **files)
        self.assertEqual((code, out), (1, ""))
        self.assertEqual(err.count("\n"), 1)
        return err

    def exact(self, k, metric="l2"):
        rows, queries = self.rows.astype(np.float64), self.queries.astype(np.float64)
        if metric == "l2":
            far = np.square(queries[:, None, :] - rows[None, :, :]).sum(axis=2)
        else:
            far = -(queries @ rows.T)
            if metric == "cosine":
                far /= np.linalg.norm(rows, axis=1)
        return np.argsort(far, axis=1)[:, :k]

    def test_every_candidate_exact_finds_all_neighbours(self):
        for metric in ("l2", "cosine", "dot"):
            for code in ("pq8", "pq4"):
                with self.subTest(metric=metric, code=code):
                    record = self.record("--refine-factor", ROWS // 10, "--metric", metric, "--code", code)
                    self.assertEqual(record["recall_at_k"], 1.0)
                    truth = np.load(self.dir / f"queries.truth.{metric}.k10.npy")
                    self.assertEqual(vector_search.recall(truth, self.exact(10, metric)), 1.0)

    def test_record_says_what_was_measured(self):
        record = self.record("--code-bytes", 4)
        self.assertEqual((record["rows"], record["dims"], record["partitions"]), (ROWS, DIMS, 8))
        self.assertEqual((record["code_bytes_per_row"], record["index_bytes_per_row"]), (4, 12))
        self.assertGreater(record["queries"], 0)
        self.assertLess(0.1, record["recall_at_k"])
        self.assertLessEqual(record["latency_us"]["p50"], record["latency_us"]["p99"])

    def test_one_partition_of_many_finds_less(self):
        self.assertLess(self.record("--nprobes", 1)["recall_at_k"], self.record()["recall_at_k"])

    def test_index_that_was_kept_answers_alike(self):
        for code in ("pq8", "pq4"):
            flags = ("--index", self.dir / f"{code}.faiss", "--code", code)
            built, loaded = self.record(*flags), self.record(*flags)
            self.assertIsNotNone(built["build_seconds"])
            self.assertIsNone(loaded["build_seconds"])
            self.assertEqual(built["recall_at_k"], loaded["recall_at_k"])

    def test_index_of_other_vectors_or_options_is_refused(self):
        np.save(self.dir / "other.npy", self.vectors(ROWS, seed=3))
        for metric in ("l2", "cosine", "dot"):
            for code in ("pq8", "pq4"):
                with self.subTest(metric=metric, code=code):
                    kept = ("--index", self.dir / f"{metric}.{code}", "--metric", metric, "--code", code)
                    self.record(*kept)
                    self.record(*kept)
                    self.assertIn("index of other vectors", self.refusal(*kept, rows="other.npy"))
                    self.assertIn("other options", self.refusal(*kept, "--code-bytes", 8))
        (self.dir / "torn").write_bytes(b"no index")
        self.assertIn("is not an index", self.refusal("--index", self.dir / "torn"))

    def test_truth_may_be_ivecs_and_longer_than_k(self):
        truth = self.exact(12).astype("<i4")
        lengths = np.full((QUERIES, 1), 12, dtype="<i4")
        np.hstack([lengths, truth]).tofile(self.dir / "truth.ivecs")
        flags = ("--truth", self.dir / "truth.ivecs", "--refine-factor", ROWS // 10)
        self.assertEqual(self.record(*flags)["recall_at_k"], 1.0)

    def test_truth_of_other_vectors_is_refused(self):
        np.save(self.dir / "truth.npy", self.exact(10) + 1)
        self.assertIn("is not that of these vectors", self.refusal("--truth", self.dir / "truth.npy"))
        np.save(self.dir / "short.npy", self.exact(9))
        self.assertIn("must have 10 neighbours", self.refusal("--truth", self.dir / "short.npy"))
        (self.dir / "torn.ivecs").write_bytes(b"\x0a\0\0\0\x01\0")
        self.assertIn("is not an .ivecs file", self.refusal("--truth", self.dir / "torn.ivecs"))

    def test_bad_vectors_are_refused_in_one_sentence(self):
        self.assertIn("cannot be read", self.refusal(rows="missing.npy"))
        (self.dir / "text.npy").write_text("no array")
        self.assertIn("is not a .npy array", self.refusal(rows="text.npy"))
        np.save(self.dir / "flat.npy", self.rows[0])
        self.assertIn("in two dimensions", self.refusal(rows="flat.npy"))
        np.save(self.dir / "narrow.npy", self.queries[:, :8])
        self.assertIn("queries of 8 dimensions", self.refusal(queries="narrow.npy"))
        np.save(self.dir / "few.npy", self.rows[:100])
        self.assertIn("has 100 rows", self.refusal(rows="few.npy"))
        self.rows[1_500, 3] = np.nan
        np.save(self.dir / "nan.npy", self.rows)
        self.assertIn("row 1500 of", self.refusal(rows="nan.npy"))
        self.rows[1_500] = 0
        np.save(self.dir / "zero.npy", self.rows)
        self.assertIn("has no cosine", self.refusal("--metric", "cosine", rows="zero.npy"))
        self.assertIn("one of 1, 2, 4, 8, 16\n", self.refusal("--code-bytes", 3))


if __name__ == "__main__":
    unittest.main()
