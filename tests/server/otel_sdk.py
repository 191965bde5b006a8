"""Exports to a server with OpenTelemetry's own SDK, and looks at what the ledger then shows.

    python3 -m venv venv
    venv/bin/pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http
    venv/bin/python tests/server/otel_sdk.py target/release/runledger
"""

import json
import logging
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def export(url, headers):
    """One trace that succeeds and one that fails, with spans, logs and an exception in them."""
    resource = Resource.create({"service.name": "mailer"})
    traces = TracerProvider(resource=resource)
    spans = OTLPSpanExporter(url + "/v1/traces", headers=headers, compression=Compression.Gzip)
    traces.add_span_processor(BatchSpanProcessor(spans))
    logs = LoggerProvider(resource=resource)
    lines = OTLPLogExporter(url + "/v1/logs", headers=headers)
    logs.add_log_record_processor(BatchLogRecordProcessor(lines))
    logger = logging.getLogger("app.mail")
    logger.setLevel(logging.INFO)
    logger.addHandler(LoggingHandler(logger_provider=logs))
    logger.propagate = False

    tracer = traces.get_tracer("otel_sdk")
    ids = []
    with tracer.start_as_current_span("good", attributes={"n": 7, "tags": ["a", "b"]}) as root:
        ids.append(format(root.get_span_context().trace_id, "032x"))
        with tracer.start_as_current_span("connect") as child:
            child.add_event("retry", {"after": "1 s"})
        logger.info("sent to %s", "ann")
    try:
        with tracer.start_as_current_span("bad") as root:
            ids.append(format(root.get_span_context().trace_id, "032x"))
            try:
                raise ValueError("no such mailbox")
            except ValueError:
                logger.exception("it broke")
                raise
    except ValueError:
        pass
    assert traces.force_flush() and logs.force_flush()
    traces.shutdown()
    logs.shutdown()
    return ids


def look(ask, ids):
    """What the ledger has to show of them."""
    good, bad = (ask(f"/v1/runs/{trace}") for trace in ids)
    assert (good["type"], good["status"], bad["status"]) == ("good", "success", "failed"), (good, bad)
    assert good["metadata"]["attributes"] == {"n": 7, "tags": ["a", "b"]}, good
    assert good["metadata"]["resource"]["service.name"] == "mailer", good
    assert good["duration_ms"] >= 0 and good["user_id"] == "ann", good
    assert (bad["error_type"], bad["message"]) == ("ValueError", "no such mailbox"), bad
    assert "otel_sdk.py" in bad["stack"], bad

    events = {event["type"]: event for event in ask(f"/v1/runs/{ids[0]}/events")["items"]}
    assert set(events) == {"connect", "retry", "app.mail"}, events
    assert events["connect"]["payload"]["duration_ms"] >= 0, events
    assert events["connect"]["payload"]["parent_span_id"] == good["metadata"]["span_id"], events
    assert events["retry"]["payload"]["attributes"] == {"after": "1 s"}, events
    line = events["app.mail"]
    assert (line["message"], line["severity"], line["actor_id"]) == ("sent to ann", "info", "mailer")

    errors = ask(f"/v1/runs/{ids[1]}/errors")["items"]
    # One of the log, one of the span.
    assert [error["type"] for error in errors] == ["ValueError"] * 2, errors
    assert {error["message"] for error in errors} == {"no such mailbox"}, errors
    assert all("raise ValueError" in error["stack"] for error in errors), errors
    assert "it broke" in [error["detail"].get("body") for error in errors], errors
    trace = ask(f"/v1/traces/{ids[1]}")
    assert "no such mailbox" in json.dumps(trace), trace


def main():
    program = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "secret").write_text("a secret for tests, of more than 32 bytes")
        keys = ["--secret-file", "secret"]
        token = [program, "token", "ann", "--scope", "read,write", *keys]
        token = subprocess.run(token, cwd=folder, check=True, capture_output=True, text=True).stdout
        headers = {"Authorization": "Bearer " + token.strip()}
        serve = [program, "serve", "--listen", "127.0.0.1:0", *keys]
        with subprocess.Popen(serve, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
            try:
                url = server.stdout.readline().removeprefix("listening on ").strip()

                def ask(path):
                    with urllib.request.urlopen(urllib.request.Request(url + path, headers=headers)) as it:
                        return json.load(it)

                look(ask, export(url, headers))
            finally:
                server.terminate()
        assert server.returncode == 0, server.returncode
    print("2 traces and 2 log records, as the SDK exports them: all there")


main()
