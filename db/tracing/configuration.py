"""Whether there are traces. OpenTelemetry's own environment says so, and its SDK reads the rest of it by itself."""

from importlib import import_module

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from db.environment import SetupError, WrongSettingError, load
from db.tracing import spans
from db.tracing.recording import Recorder

HTTP = "http/protobuf"
# The names under which packages register what sends by these protocols.
REGISTERED = {HTTP: "otlp_proto_http", "grpc": "otlp_proto_grpc"}


class TracingSettings(BaseSettings):
    """What decides whether spans are sent, and by whom. All else is between the environment and the SDK."""

    model_config = SettingsConfigDict(env_prefix="OTEL_", extra="ignore")

    sdk_disabled: str = Field(default="", description="true: no traces, whatever else is set")
    traces_exporter: str = Field(default="", description="otlp, console, none; others where they are installed")
    exporter_otlp_endpoint: str = Field(
        default="", description="where all goes, as http://collector:4318; empty: no traces"
    )
    exporter_otlp_traces_endpoint: str = Field(
        default="", description="the same for traces alone, as http://collector:4318/v1/traces"
    )
    exporter_otlp_protocol: str = Field(default="", description="http/protobuf, which an empty one means, or grpc")
    exporter_otlp_traces_protocol: str = Field(default="", description="the same, for traces alone")

    @property
    def exporters(self) -> list[str]:
        """The exporters that are asked for. None: traces are off."""
        asked = self.traces_exporter.strip() or ("otlp" if self._endpoint else "none")
        if asked.lower() == "none" or self.sdk_disabled.strip().lower() == "true":
            return []
        return [name.strip() for name in asked.split(",")]

    def registered(self, exporter: str) -> str:
        """The name under which a package registers this exporter. Raises WrongSettingError."""
        if exporter != "otlp":
            return exporter
        protocol = (self.exporter_otlp_traces_protocol or self.exporter_otlp_protocol).strip() or HTTP
        if protocol not in REGISTERED:
            raise WrongSettingError(
                f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol!r}: no protocol that we can send traces by. Right would be: "
                f"{HTTP}, or grpc. OTEL_TRACES_EXPORTER=none turns traces off."
            )
        if protocol == HTTP and self._endpoint and not self._endpoint.startswith(("http://", "https://")):
            raise WrongSettingError(
                f"OTEL_EXPORTER_OTLP_ENDPOINT={self._endpoint!r}: no address. Right would be: http://collector:4318."
            )
        return REGISTERED[protocol]

    @property
    def _endpoint(self) -> str:
        return (self.exporter_otlp_traces_endpoint or self.exporter_otlp_endpoint).strip()


def start(service: str) -> None:
    """Record spans from now on, if the environment asks for it; by `service` if it does not name the process.

    Raises SetupError where what it asks for cannot be had.
    """
    settings = load(TracingSettings)
    if not settings.exporters:
        return
    names = [settings.registered(exporter) for exporter in settings.exporters]
    try:
        recorder: Recorder = import_module("db.tracing.exporting").recorder(names, service=service)
    except ModuleNotFoundError as error:
        raise SetupError(
            f"The environment asks for traces (OTEL_TRACES_EXPORTER or OTEL_EXPORTER_OTLP_ENDPOINT), and what sends "
            f"them is not installed: there is no {error.name}. Install what is pinned: "
            "pip install --require-hashes -r requirements/tracing.txt. OTEL_TRACES_EXPORTER=none turns traces off."
        ) from None
    except ValueError as error:
        raise SetupError(f"OpenTelemetry does not take its settings (OTEL_… in the environment): {error}.") from None
    spans.record_with(recorder)


def stop() -> None:
    """Send what is left, and record no more."""
    recorder = spans.recorder()
    if recorder is not None:
        recorder.stop()
    spans.record_with(None)
