"""This relay, with the same few methods as the others. Its answer means that the message is on disk."""

from tests.bench import generator
from tests.bench.generator import Template
from tests.bench.under_load import Connection, Relay, template


class Ours:
    protocol, answers = generator.RELAY, generator.RELAY_ANSWER

    def __init__(self, relay: Relay) -> None:
        self.relay = relay

    def login(self, name: str, **_options: object) -> Connection:
        return self.relay.login(name)

    def join(self, _connection: Connection, _room: str) -> None:
        """Nothing to do: the members are in the group already."""

    def template(self, _me: str, to: str) -> Template:
        return template(to)

    def group_template(self, _me: str, _room: str) -> Template:
        return template(self.relay.group)

    def send_acked(self, sender: str, to: str, count: int, tag: str) -> int:
        """Send one message after another, each after the previous answer; return how many were answered."""
        connection = self.login(sender)
        for number in range(count):
            answer = connection.wait_for(
                "new",
                {"chatId": to, "clientMessageId": f"{tag}{number}", "message": f"{tag}-{number:05d}-end"},
                f"r{number}",
            )
            if "error" in answer:
                return number
        return count

    def archive(self, name: str, tag: str) -> tuple[int, int]:
        """How many of the messages with this tag are in the history, and how many are replayed."""
        connection = self.login(name)
        replayed = sum(tag in str(frame) for frame in connection.drain(1.0) if frame.get("eventType") == "new")
        seen, start = 0, 1
        while True:
            page = connection.wait_for("messages", {"chatId": "u0", "startId": start, "count": 500}, f"p{start}")
            found = page["payload"]
            assert isinstance(found, list)
            if not found:
                return seen, replayed
            seen += sum(tag in message.get("message", "") for message in found)
            start = found[-1]["messageId"] + 1
