"""A file at a URL, read in ranges: by obstore for S3, Google, Azure and HTTP, by fsspec for others or without obstore.

Each request ends within _TIMEOUT, and says in one line why it failed: `Refused` where another try would fail as well,
`Failed` where a server, or the way to it, may have a bad moment.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn, Protocol
from urllib.parse import unquote, urlsplit

from engine.data.sources.access.location import is_missing, status_of
from engine.errors import UserError

CONNECTIONS = 16
"""Requests at a time."""

_TIMEOUT, _CONNECT = timedelta(seconds=30), timedelta(seconds=10)

_OF_OBSTORE = {"s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl", "http", "https"}

# fsspec's names for S3, as obstore has them; any other option is obstore's own.
_NAMES = {
    "anon": "skip_signature",
    "key": "access_key_id",
    "secret": "secret_access_key",
    "token": "session_token",
    "endpoint_url": "endpoint",
    "region_name": "region",
}

_TOO_SLOW = f"no answer within {_TIMEOUT.seconds} s"

# A server's answers that may be others a moment later.
_MOMENTARY = {408, 425, 429}
# Where obstore looks for credentials that are given nowhere else: on a machine of Amazon's.
_NO_CREDENTIALS = "169.254."


class Refused(UserError):
    """The server says no, and will say so again."""


class Failed(Exception):
    """A request failed in a way that may pass; the message is the reason, in a few words."""

    @property
    def is_slow(self) -> bool:
        """Whether the answer took too long: a line that is too slow for so many requests at a time, perhaps."""
        return str(self) == _TOO_SLOW


@dataclass(frozen=True)
class Found:
    """A file as its server has it now."""

    size: int
    tag: str
    """Changes with the content: its ETag, or else the time of its last change; empty where the server says neither."""


class Store(Protocol):
    """One file at a URL. Both methods block, and raise Refused or Failed."""

    url: str
    """Without credentials, for messages."""

    def look(self) -> Found:
        """Size and tag."""
        ...

    def read(self, start: int, stop: int, tag: str) -> Any:
        """The bytes from `start` to before `stop`, as a buffer. Refused where the tag is another one by now."""
        ...


def open_store(url: str, options: Mapping[str, Any]) -> Store:
    """The file at `url`; nothing is asked yet. Raises UserError for options or a URL that can't be."""
    scheme = url.partition("://")[0].lower()
    # A signature is a part of the URL; obstore's paths have no such part.
    if scheme in _OF_OBSTORE and not (scheme.startswith("http") and "?" in url):
        try:
            return _Obstore(url, scheme, options)
        except ImportError:
            pass
    return _Fsspec(url, options)


def shown(url: str) -> str:
    """`url` without a password or signature."""
    plain = re.sub(r"://[^/@]*@", "://", url) if url.startswith("http") else url
    return plain.partition("?")[0]


class _Obstore:
    def __init__(self, url: str, scheme: str, options: Mapping[str, Any]) -> None:
        import obstore.exceptions
        import obstore.store

        # Its types are those of options that are known beforehand.
        library: Any = obstore
        self._obstore, self.url = library, shown(url)
        given = _translated(options) if scheme.startswith("s3") else dict(options)
        # Each kind of URL says in its own way what comes before the path; S3's and Google's keys are taken as they are.
        root, _, self._key = url.rpartition("/")
        if scheme in ("s3", "s3a", "gs"):
            place = urlsplit(url)
            root, self._key = f"{scheme}://{place.netloc}", url.split("://", 1)[1].partition("/")[2]
        elif scheme.startswith("http"):
            self._key = unquote(self._key)
        if not self._key or root.endswith("/"):
            raise UserError(f"{self.url} names no file: give a URL such as s3://BUCKET/FOLDER/train.beton")
        client = {"allow_http": True, "timeout": _TIMEOUT, "connect_timeout": _CONNECT}
        # Tried again by those who ask, who say so.
        common: dict[str, Any] = {"client_options": client, "retry_config": {"max_retries": 0}}
        try:
            if scheme.startswith("http"):
                if given:
                    raise UserError(
                        f"data.storage_options: {self.url} takes no options: drop {', '.join(given)}"
                    )
                self._store: Any = library.store.HTTPStore.from_url(root, **common)
            else:
                self._store = library.store.from_url(root, config=given, **common)
        except UserError:
            raise
        # Whatever it makes of its options.
        except Exception as error:  # noqa: BLE001
            raise UserError(f"data.storage_options: {self.url} can't be used: {_reason(error)}") from None

    def look(self) -> Found:
        try:
            found = self._obstore.head(self._store, self._key)
        except Exception as error:  # noqa: BLE001
            if _NO_CREDENTIALS in str(error):
                raise Refused(
                    f"cannot read {self.url}: no credentials were found: set AWS_ACCESS_KEY_ID and "
                    "AWS_SECRET_ACCESS_KEY, or for public data --data.storage_options='{\"anon\": true}'"
                ) from None
            self._raise(error)
        changed = found["last_modified"]
        return Found(found["size"], found["e_tag"] or (str(changed) if changed.timestamp() > 0 else ""))

    def read(self, start: int, stop: int, tag: str) -> Any:
        strong = tag.startswith('"')
        options = {"range": (start, stop), **({"if_match": tag} if strong else {})}
        try:
            found = self._obstore.get(self._store, self._key, options=options)
            data = found.bytes()
        except Exception as error:  # noqa: BLE001
            self._raise(error)
        now = found.meta["e_tag"]
        if tag.startswith(('"', "W/")) and now and now != tag:
            raise _changed(self.url)
        if len(data) != stop - start:
            raise Failed(f"the server sent {len(data):,} of {stop - start:,} bytes")
        return data

    def _raise(self, error: Exception) -> NoReturn:
        if isinstance(error, self._obstore.exceptions.PreconditionError):
            raise _changed(self.url) from None
        code = re.search(r"status code: (\d{3})", str(error))
        _raise_for(self.url, int(code[1]) if code else None, _reason(error))


class _Fsspec:
    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        # With its parts it takes a while to import.
        import fsspec

        self.url = shown(url)
        try:
            self._system, self._path = fsspec.core.url_to_fs(url, **options)
        # Whatever a file system makes of its options; a missing package names itself.
        except Exception as error:  # noqa: BLE001
            raise UserError(f"data.storage_options: {self.url} can't be used: {_reason(error)}") from None

    def look(self) -> Found:
        self._system.invalidate_cache()
        found = self._ask(lambda: self._system.info(self._path))
        if found.get("size") is None:
            raise Refused(
                f"cannot read {self.url}: its server does not say how large it is: copy it here first"
            )
        tags = (
            found.get(name) for name in ("ETag", "etag", "LastModified", "last_modified", "mtime", "created")
        )
        return Found(int(found["size"]), str(next(filter(None, tags), "")))

    def read(self, start: int, stop: int, tag: str) -> Any:
        data = self._ask(lambda: self._system.cat_file(self._path, start=start, end=stop))
        if len(data) != stop - start:
            raise Failed(f"the server sent {len(data):,} of {stop - start:,} bytes")
        return data

    def _ask(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        # Each of fsspec's file systems raises its own errors, those of its network library among them.
        except Exception as error:  # noqa: BLE001
            code = (
                404 if is_missing(error) else 403 if isinstance(error, PermissionError) else status_of(error)
            )
            _raise_for(self.url, code, _reason(error))


def _raise_for(url: str, code: int | None, reason: str) -> NoReturn:
    """`code` is the server's answer, None where there was none."""
    if code in (404, 410):
        raise Refused(f"cannot read {url}: its server has no such bucket or file: check the URL") from None
    if code in (401, 403) or "ExpiredToken" in reason:
        raise Refused(
            f"cannot read {url}: its server refuses it ({reason}): the credentials are wrong, have expired, or do not "
            "allow it; set new ones in the environment (AWS_ACCESS_KEY_ID, ...) or in data.storage_options, then start "
            "the same command again"
        ) from None
    if code in (301, 307) or "AuthorizationHeaderMalformed" in reason:
        raise Refused(
            f"cannot read {url}: its server says {reason}, as for a bucket in another region: set AWS_REGION, or "
            '--data.storage_options=\'{"region": "..."}\''
        ) from None
    if code is not None and 400 <= code < 500 and code not in _MOMENTARY:
        raise Refused(f"cannot read {url}: its server says {reason}") from None
    raise Failed(reason) from None


def _changed(url: str) -> Refused:
    return Refused(
        f"{url} was changed on its server while it was downloaded: start again, which downloads the new file; a run "
        "that was begun with the old one can only continue with the old one"
    )


def _reason(error: Exception) -> str:
    """What went wrong, in a few words, out of an error and obstore's appendix to it."""
    first, _, appendix = str(error).partition("\n\nDebug source")
    first = " ".join(first.split())
    if status := re.search(r"status code: (\d{3}[^:<]*)(?:.*<Code>(\w+)</Code>)?", first):
        return f"{status[1].strip()}{f', {status[2]}' if status[2] else ''}"
    if found := re.findall(r'(?:message|error): "([^"]+)"', appendix):
        return str(found[-1])
    if "TimedOut" in appendix:
        return _TOO_SLOW
    return first.rpartition(" - ")[2] or type(error).__name__


def _translated(options: Mapping[str, Any]) -> dict[str, Any]:
    """fsspec's options for S3 as obstore's."""
    flat = {name: value for name, value in options.items() if name != "client_kwargs"}
    flat |= options.get("client_kwargs") or {}
    return {_NAMES.get(name, name): value for name, value in flat.items()}
