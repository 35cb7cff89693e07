"""A broker that asks who is there: SASL over TLS on one listener, client certificates on another."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from infra.settings import Settings
from infra.stack import kafka, processes
from infra.stack.kafka import EmbeddedKafka
from infra.stack.model import StackHome
from infra.stack.ports import LOOPBACK, PortReservations
from tests.unit.temporal.certificates import Authority

USER, PASSWORD = "casaflow", "a-password-that-no-log-shows"
_MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512")
_SECURITY = """
listeners=SASL_SSL://{host}:{sasl},MTLS://{host}:{mtls},INTERNAL://{host}:{internal},CONTROLLER://{host}:{controller}
advertised.listeners=SASL_SSL://{host}:{sasl},MTLS://{host}:{mtls},INTERNAL://{host}:{internal}
listener.security.protocol.map=SASL_SSL:SASL_SSL,MTLS:SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=INTERNAL
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location=server.pem
ssl.truststore.type=PEM
ssl.truststore.location=authority.pem
listener.name.mtls.ssl.client.auth=required
"""


class SecuredKafka(EmbeddedKafka):
    """The stack's broker with other listeners."""

    def __init__(self, folder: Path, ports: dict[str, int]) -> None:
        super().__init__(StackHome(folder))
        self.authority = Authority(folder)
        self.client = self.authority.issue("client")
        self.ports = ports

    def address(self, listener: str) -> str:
        return f"{LOOPBACK}:{self.ports[listener]}"

    def settings(self, mechanism: str, **changes: Any) -> Settings:
        """What reaches it by one of SCRAM-SHA-256, SCRAM-SHA-512, PLAIN and MTLS."""
        given: dict[str, Any] = {
            "kafka_bootstrap_servers": self.address("mtls" if mechanism == "MTLS" else "sasl"),
            "kafka_security_protocol": "SSL" if mechanism == "MTLS" else "SASL_SSL",
            "kafka_tls_ca": self.authority.file,
        }
        if mechanism == "MTLS":
            given |= {"kafka_tls_cert": self.client.cert, "kafka_tls_key": self.client.key}
        else:
            given |= {"kafka_sasl_mechanism": mechanism, "kafka_sasl_username": USER, "kafka_sasl_password": PASSWORD}
        return Settings.model_validate({**given, **changes})

    def _format(self, cluster_id: str) -> None:
        files = self.authority.issue("server", hosts=(LOOPBACK,))
        (self._folder / "server.pem").write_bytes(files.key.read_bytes() + files.cert.read_bytes())
        (self._folder / "authority.pem").write_bytes(self.authority.file.read_bytes())
        with (self._folder / "server.properties").open("a", encoding="utf-8") as properties:
            properties.write(_SECURITY.format(host=LOOPBACK, user=USER, password=PASSWORD, **self.ports))
        scram = [f"--add-scram={mechanism}=[name={USER},password={PASSWORD}]" for mechanism in _MECHANISMS]
        command = [*self._java(), "kafka.tools.StorageTool", "format", "--cluster-id", cluster_id, "--config", "server.properties"]
        done = subprocess.run([*command, *scram], cwd=self._folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@asynccontextmanager
async def secured_kafka(folder: Path) -> AsyncIterator[SecuredKafka]:
    """The broker, started; killed at the end."""
    with PortReservations() as reservations:
        broker = SecuredKafka(folder, {name: reservations.take_any() for name in ("sasl", "mtls", "internal", "controller")})
        await asyncio.to_thread(broker.prepare, {"kafka": broker.ports["internal"], "kafka-controller": broker.ports["controller"]}, print)
        command = broker.command()
        process = await processes.start(command)
        try:
            async with asyncio.timeout(60):
                await kafka.wait_until_ready(process.pid, broker.address("sasl"))
            yield broker
        finally:
            process.kill()
            await process.wait()
