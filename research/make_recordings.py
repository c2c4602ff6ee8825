"""Make short recordings in many formats with real encoders, whole and with the faults that recordings have.

    python research/make_recordings.py recordings --seconds 3

It needs FFmpeg, LAME, SoX with all its formats, flac, vorbis-tools, opus-tools, speex, wavpack and amrnb on the PATH
(Debian: `ffmpeg lame sox libsox-fmt-all flac vorbis-tools opus-tools speex wavpack`).
`recordings.json` tells what each file is.
"""

import argparse
import contextlib
import json
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import soundfile


FFMPEG = "ffmpeg -v error -nostdin -y -bitexact -i {wav} -bitexact "
COPY = "ffmpeg -v error -nostdin -y "
SOX = "sox -R -D {wav} "


@dataclass
class Recording:
    """A file: what it is, and the whole files whose sound it holds, one after another.

    Args:
        name: Name of the file.
        format: What codes its samples.
        container: What holds them.
        encoder: The program that made it.
        fault: What is unusual about it; empty if nothing.
        holds: Names of the files that hold the same sound without the fault; a decoder reads these as the reference.
        refused: Whether it cannot be read.
        endless: Whether it does not announce its length.
    """

    name: str
    format: str
    container: str
    encoder: str
    fault: str = ""
    holds: tuple[str, ...] = ()
    refused: bool = False
    endless: bool = False


# Name, format, container, command. `{wav}` is the source, `{out}` the result; without `{out}`, it is written to a pipe.
# The source is in stereo at 44.1 kHz, except for names that end in a rate.
ENCODED = [
    ("pcm16.wav", "PCM 16", "WAV", FFMPEG + "-c:a pcm_s16le {out}"),
    ("pcm8.wav", "PCM 8", "WAV", FFMPEG + "-c:a pcm_u8 {out}"),
    ("pcm24.wav", "PCM 24", "WAV", FFMPEG + "-c:a pcm_s24le {out}"),
    ("float.wav", "float 32", "WAV", FFMPEG + "-c:a pcm_f32le {out}"),
    ("double.wav", "float 64", "WAV", FFMPEG + "-c:a pcm_f64le {out}"),
    ("mulaw.wav", "mu-law", "WAV", FFMPEG + "-c:a pcm_mulaw {out}"),
    ("alaw.wav", "A-law", "WAV", FFMPEG + "-c:a pcm_alaw {out}"),
    ("ms_adpcm.wav", "MS ADPCM", "WAV", FFMPEG + "-c:a adpcm_ms {out}"),
    ("ima_adpcm.wav", "IMA ADPCM", "WAV", FFMPEG + "-c:a adpcm_ima_wav {out}"),
    ("gsm_8000.wav", "GSM 6.10", "WAV", FFMPEG + "-c:a libgsm_ms -ar 8000 -ac 1 {out}"),
    ("wma.wav", "WMA 2", "WAV", FFMPEG + "-c:a wmav2 {out}"),
    ("sox.wav", "PCM 16", "WAV", SOX + "{out}"),
    ("sox24.wav", "PCM 24", "WAV", SOX + "-b 24 {out}"),
    ("mono_16000.wav", "PCM 16", "WAV", FFMPEG + "-ar 16000 -ac 1 -c:a pcm_s16le {out}"),
    ("mono24_8000.wav", "PCM 24", "WAV", FFMPEG + "-ar 8000 -ac 1 -c:a pcm_s24le {out}"),
    ("pcm16.rf64.wav", "PCM 16", "RF64", FFMPEG + "-rf64 always {out}"),
    ("pcm16.w64", "PCM 16", "Wave64", FFMPEG + "{out}"),
    ("sox.w64", "PCM 16", "Wave64", SOX + "{out}"),
    ("pcm16.aiff", "PCM 16", "AIFF", FFMPEG + "{out}"),
    ("pcm24.aiff", "PCM 24", "AIFF", FFMPEG + "-c:a pcm_s24be {out}"),
    ("sowt.aifc", "PCM 16 little-endian", "AIFF-C", FFMPEG + "-c:a pcm_s16le -f aiff {out}"),
    ("mulaw.aifc", "mu-law", "AIFF-C", FFMPEG + "-c:a pcm_mulaw -f aiff {out}"),
    ("ima.aifc", "IMA ADPCM", "AIFF-C", FFMPEG + "-c:a adpcm_ima_qt -f aiff {out}"),
    ("sox.aiff", "PCM 16", "AIFF", SOX + "{out}"),
    ("sox.aifc", "PCM 16", "AIFF-C", SOX + "{out}"),
    ("sox_8000.8svx", "PCM 8", "8SVX", SOX + "-r 8000 -c 1 {out}"),
    ("pcm16.caf", "PCM 16", "CAF", FFMPEG + "-c:a pcm_s16be {out}"),
    ("alac.caf", "ALAC", "CAF", FFMPEG + "-c:a alac {out}"),
    ("ima.caf", "IMA ADPCM", "CAF", FFMPEG + "-c:a adpcm_ima_qt {out}"),
    ("pcm16.au", "PCM 16", "AU", FFMPEG + "{out}"),
    ("mulaw.au", "mu-law", "AU", SOX + "-e mu-law {out}"),
    ("sox.sph", "PCM 16", "NIST SPHERE", SOX + "{out}"),
    ("mulaw.sph", "mu-law", "NIST SPHERE", SOX + "-e mu-law {out}"),
    ("sox.avr", "PCM 16", "AVR", SOX + "{out}"),
    ("sox.voc", "PCM 16", "VOC", SOX + "{out}"),
    ("sox8_8000.voc", "PCM 8", "VOC", SOX + "-r 8000 -c 1 -b 8 {out}"),
    ("sox.sf", "PCM 16", "IRCAM", SOX + "{out}"),
    ("sox.paf", "PCM 16", "PAF", SOX + "{out}"),
    ("sox.pvf", "PCM 16", "PVF", SOX + "{out}"),
    ("sox.mat", "float 64", "MATLAB", SOX + "-t mat4 {out}"),
    ("sox_8000.gsm", "GSM 6.10", "none", SOX + "-r 8000 -c 1 {out}"),
    ("ffmpeg.flac", "FLAC", "FLAC", FFMPEG + "{out}"),
    ("flac.flac", "FLAC", "FLAC", "flac -s -f -o {out} {wav}"),
    ("sox.flac", "FLAC", "FLAC", SOX + "{out}"),
    ("tagged.flac", "FLAC", "FLAC", "flac -s -f --tag=TITLE=fLaC --padding=9000 -o {out} {wav}"),
    ("from_aiff.flac", "FLAC", "FLAC", "flac -s -f --keep-foreign-metadata -o {out} {folder}/pcm16.aiff"),
    ("mono24_16000.flac", "FLAC", "FLAC", FFMPEG + "-ar 16000 -ac 1 -sample_fmt s32 {out}"),
    ("flac.oga", "FLAC", "Ogg", "flac -s -f --ogg -o {out} {wav}"),
    ("ffmpeg_flac.oga", "FLAC", "Ogg", FFMPEG + "-c:a flac -f ogg {out}"),
    ("oggenc.ogg", "Vorbis", "Ogg", "oggenc -Q --serial 1 -o {out} {wav}"),
    ("ffmpeg.ogg", "Vorbis", "Ogg", FFMPEG + "-c:a libvorbis {out}"),
    ("sox.ogg", "Vorbis", "Ogg", SOX + "{out}"),
    ("mono_16000.ogg", "Vorbis", "Ogg", FFMPEG + "-ar 16000 -ac 1 -c:a libvorbis {out}"),
    ("opusenc.opus", "Opus", "Ogg", "opusenc --quiet --serial 1 {wav} {out}"),
    ("ffmpeg.opus", "Opus", "Ogg", FFMPEG + "-c:a libopus {out}"),
    ("mono_16000.opus", "Opus", "Ogg", FFMPEG + "-ar 16000 -ac 1 -c:a libopus {out}"),
    ("speexenc_16000.spx", "Speex", "Ogg", "speexenc --quiet {wav16} {out}"),
    ("ffmpeg_16000.spx", "Speex", "Ogg", FFMPEG + "-ar 16000 -ac 1 -c:a libspeex {out}"),
    ("lame.mp3", "MP3", "none", "lame --silent {wav} {out}"),
    ("lame_vbr.mp3", "MP3", "none", "lame --silent -V 4 {wav} {out}"),
    ("lame_abr.mp3", "MP3", "none", "lame --silent --abr 100 {wav} {out}"),
    ("lame_mono.mp3", "MP3", "none", "lame --silent -m m {wav} {out}"),
    ("lame_free.mp3", "MP3", "none", "lame --silent --freeformat -b 200 {wav} {out}"),
    ("lame_checked.mp3", "MP3", "none", "lame --silent -p {wav} {out}"),
    ("lame_bare.mp3", "MP3", "none", "lame --silent -t {wav} {out}"),
    ("lame_vbr_bare.mp3", "MP3", "none", "lame --silent -t -V 4 {wav} {out}"),
    ("lame_tagged.mp3", "MP3", "none", "lame --silent --tt title --pad-id3v2-size 500 --add-id3v2 {wav} {out}"),
    ("lame_16000.mp3", "MP3", "none", "lame --silent --resample 16 -m m {wav} {out}"),
    ("lame_8000.mp3", "MP3", "none", "lame --silent --resample 8 -m m {wav} {out}"),
    ("ffmpeg.mp3", "MP3", "none", FFMPEG + "{out}"),
    ("ffmpeg_vbr.mp3", "MP3", "none", FFMPEG + "-q:a 4 {out}"),
    ("ffmpeg_bare.mp3", "MP3", "none", FFMPEG + "-write_xing 0 -id3v2_version 0 {out}"),
    ("shine.mp3", "MP3", "none", FFMPEG + "-c:a libshine -write_xing 0 {out}"),
    ("sox.mp3", "MP3", "none", SOX + "{out}"),
    ("mp3.wav", "MP3", "WAV", FFMPEG + "-c:a libmp3lame {out}"),
    ("mp3_vbr.wav", "MP3", "WAV", FFMPEG + "-c:a libmp3lame -q:a 4 {out}"),
    *(
        (f"ffmpeg_{rate}.mp2", "MP2", "none", FFMPEG + f"-ar {rate} -c:a mp2 {{out}}")
        for rate in (16000, 22050, 24000, 32000, 44100, 48000)
    ),
    ("twolame.mp2", "MP2", "none", FFMPEG + "-c:a libtwolame {out}"),
    ("aac.m4a", "AAC", "MPEG-4", FFMPEG + "{out}"),
    ("aac_front.m4a", "AAC", "MPEG-4", FFMPEG + "-movflags +faststart {out}"),
    ("aac_pieces.mp4", "AAC", "MPEG-4", FFMPEG + "-movflags frag_keyframe+empty_moov -frag_duration 500000 {out}"),
    ("eight.m4a", "AAC", "MPEG-4", FFMPEG + "-ac 8 {out}"),
    ("alac.m4a", "ALAC", "MPEG-4", FFMPEG + "-c:a alac {out}"),
    ("aac.mov", "AAC", "QuickTime", FFMPEG + "-c:a aac {out}"),
    ("aac.aac", "AAC", "ADTS", FFMPEG + "{out}"),
    ("wma2.wma", "WMA 2", "ASF", FFMPEG + "{out}"),
    ("wma1.wma", "WMA 1", "ASF", FFMPEG + "-c:a wmav1 {out}"),
    ("opus.webm", "Opus", "WebM", FFMPEG + "-c:a libopus {out}"),
    ("vorbis.webm", "Vorbis", "WebM", FFMPEG + "-c:a libvorbis {out}"),
    ("live.webm", "Opus", "WebM", FFMPEG + "-c:a libopus -live 1 -f webm pipe:1"),
    ("mp3.mka", "MP3", "Matroska", FFMPEG + "-c:a libmp3lame {out}"),
    ("flac.mka", "FLAC", "Matroska", FFMPEG + "-c:a flac {out}"),
    ("wavpack.wv", "WavPack", "none", "wavpack -q -y {wav} -o {out}"),
    ("ffmpeg.wv", "WavPack", "none", FFMPEG + "{out}"),
    ("eight.wv", "WavPack", "none", FFMPEG + "-ac 8 {out}"),
    ("sox_8000.amr-nb", "AMR-NB", "AMR", SOX + "-r 8000 -c 1 {out}"),
    ("copied_8000.3gp", "AMR-NB", "3GP", COPY + "-i {folder}/sox_8000.amr-nb -c copy {out}"),
    ("ac3.ac3", "AC-3", "none", FFMPEG + "{out}"),
    ("tta.tta", "True Audio", "none", FFMPEG + "{out}"),
    ("g722.g722", "G.722", "none", FFMPEG + "{out}"),
]
# What is neither read by libsndfile in full nor by FFmpeg's formats that are known to be safe.
REFUSED = ("sox.mat", "sox_8000.gsm", "ac3.ac3", "tta.tta", "g722.g722")
# What does not announce its length, so that a cut cannot be told from a shorter recording.
ENDLESS = (
    "lame_bare.mp3",
    "lame_vbr_bare.mp3",
    "ffmpeg_bare.mp3",
    "shine.mp3",
    "sox.mp3",
    "sox.sf",
    "sox.paf",
    "sox.pvf",
)
ENDLESS += ("sox_8000.amr-nb", "aac.aac", "twolame.mp2", "lame_16000.mp3", "lame_8000.mp3")
# What FFmpeg does not decode, or not to its end: the source is the reference.
LIKE_SOURCE = ("lame_free.mp3", "sox.voc")
# The same, written to a pipe, where the program cannot complete the header: the whole file, and the command.
PIPED = {
    "pcm16.wav": FFMPEG + "-c:a pcm_s16le -f wav pipe:1",
    "sox.wav": SOX + "-t wav -",
    "pcm16.w64": FFMPEG + "-f w64 pipe:1",
    "pcm16.rf64.wav": FFMPEG + "-rf64 always -f wav pipe:1",
    "pcm16.aiff": FFMPEG + "-f aiff pipe:1",
    "sox.aiff": SOX + "-t aiff -",
    "pcm16.caf": FFMPEG + "-c:a pcm_s16be -f caf pipe:1",
    "pcm16.au": FFMPEG + "-f au pipe:1",
    "mulaw.au": SOX + "-e mu-law -t au -",
    "sox.sph": SOX + "-t sph -",
    "ffmpeg.flac": FFMPEG + "-f flac pipe:1",
    "flac.flac": "flac -s -c --stdout {wav}",
    "sox.flac": SOX + "-t flac -",
    "flac.oga": "flac -s --ogg --stdout {wav}",
    "ffmpeg_flac.oga": FFMPEG + "-c:a flac -f ogg pipe:1",
    "oggenc.ogg": "oggenc -Q --serial 1 -o - {wav}",
    "ffmpeg.opus": FFMPEG + "-c:a libopus -f opus pipe:1",
    "lame.mp3": "lame --silent {wav} -",
    "lame_vbr.mp3": "lame --silent -V 4 {wav} -",
    "ffmpeg.mp3": FFMPEG + "-f mp3 pipe:1",
    "mp3.wav": FFMPEG + "-c:a libmp3lame -f wav pipe:1",
    "wma2.wma": FFMPEG + "-f asf pipe:1",
    "mp3.mka": FFMPEG + "-c:a libmp3lame -f matroska pipe:1",
}
# The same, cut by FFmpeg at a second without being decoded; what comes before in the same page or frame may stay.
COPIED = ("oggenc.ogg", "ffmpeg.ogg", "opusenc.opus", "ffmpeg.opus", "flac.oga", "flac.flac", "pcm16.wav", "lame.mp3")
COPIED += ("aac.m4a", "alac.m4a", "aac.aac", "wma2.wma", "opus.webm", "mp3.mka", "wavpack.wv")
JOINED = [
    ("oggenc.ogg", "oggenc.ogg"),
    ("oggenc.ogg", "mono_16000.ogg"),
    ("ffmpeg.opus", "opusenc.opus"),
    ("opusenc.opus", "mono_16000.opus"),
    ("flac.oga", "ffmpeg_flac.oga"),
    ("oggenc.ogg", "ffmpeg.opus"),
    ("flac.flac", "flac.flac"),
    ("ffmpeg.flac", "mono24_16000.flac"),
    ("lame.mp3", "lame.mp3"),
    ("lame_vbr.mp3", "ffmpeg.mp3"),
    ("lame.mp3", "lame_16000.mp3"),
    ("lame_tagged.mp3", "lame_tagged.mp3"),
    ("pcm16.wav", "pcm16.wav"),
    ("pcm16.wav", "mono_16000.wav"),
    ("pcm16.aiff", "sox.aiff"),
    ("speexenc_16000.spx", "speexenc_16000.spx"),
]


def id3(size: int, footer: bool = False) -> bytes:
    """Return an ID3v2 tag with so many bytes of padding."""
    digits = bytes(size >> 7 * place & 127 for place in (3, 2, 1, 0))
    head = b"\x04\0" + (b"\x10" if footer else b"\0") + digits
    return b"ID3" + head + bytes(size) + (b"3DI" + head if footer else b"")


def set_size(name: bytes, size: int | None = None, share: float = 1.0, order: str = "little") -> Callable:
    """Return a function that writes another size for a chunk: a given one, or a share of the one that is there."""

    def change(content: bytes) -> bytes:
        place = content.index(name) + 4
        value = int(int.from_bytes(content[place : place + 4], order) * share) // 8 * 8 if size is None else size
        return content[:place] + value.to_bytes(4, order) + content[place + 4 :]

    return change


APE = b"APETAGEX" + (2000).to_bytes(4, "little") + (32).to_bytes(4, "little") + bytes(16)
JUNK = np.random.default_rng(1).bytes(700).replace(b"\xff", b"\x7f")
# What is unusual, which files get it, and how. All the sound is there.
FAULTS = [
    ("two ID3v2 tags", ("lame.mp3", "lame_bare.mp3"), lambda content: id3(90) + id3(400) + content),
    ("ID3v2 tag with a footer", ("lame.mp3",), lambda content: id3(100, footer=True) + content),
    ("padded ID3v2 tag", ("lame.mp3", "lame_bare.mp3"), lambda content: id3(100) + bytes(3000) + content),
    ("ID3v1 tag at the end", ("lame.mp3", "ffmpeg_bare.mp3"), lambda content: content + b"TAG" + bytes(125)),
    ("APE tag at the end", ("lame.mp3",), lambda content: content + APE),
    ("leading junk", ("lame.mp3", "lame_bare.mp3", "ffmpeg_44100.mp2"), lambda content: JUNK + content),
    ("cut in the last frame", ("lame_bare.mp3", "lame.mp3"), lambda content: content[:-50]),
    ("ID3v2 tag in front", ("pcm16.wav", "flac.flac", "pcm16.aiff"), lambda content: id3(200) + content),
    ("announces half", ("pcm16.wav", "pcm24.wav"), set_size(b"data", share=0.5)),
    ("announces half", ("pcm16.aiff",), set_size(b"SSND", share=0.5, order="big")),
    ("announces half", ("pcm16.au",), lambda content: content[:8] + bytes([0, 0, 64, 0]) + content[12:]),
    ("never closed: size 0", ("pcm16.wav", "float.wav", "mp3.wav"), set_size(b"data", size=0)),
    ("never closed: largest size", ("pcm16.wav", "mulaw.wav"), set_size(b"data", size=2**32 - 1)),
    (
        "zeros at the end",
        ("pcm16.wav", "oggenc.ogg", "flac.flac", "lame_bare.mp3"),
        lambda content: content + bytes(512),
    ),
]


def make_recordings(folder: Path, seconds: float) -> list[Recording]:
    """Make the files, with a sound of so many seconds, and return what they are."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = {"wav": folder / "source.wav", "wav16": folder / "source_16000.wav"}
    write_source(sources["wav"], seconds, 44100, 2)
    write_source(sources["wav16"], seconds, 16000, 1)
    recordings = {}
    for name, kind, container, command in ENCODED:
        encode(command, folder / name, sources)
        holds = ("pcm16.wav" if name in LIKE_SOURCE else name,)
        endless = name in ENDLESS or (name.startswith("ffmpeg_") and name.endswith(".mp2"))
        recordings[name] = Recording(
            name, kind, container, command.split()[0], holds=holds, refused=name in REFUSED, endless=endless
        )
    for whole, command in PIPED.items():
        other = replace(recordings[whole], name=f"piped_{whole}", fault="written to a pipe", endless=True)
        encode(command, folder / other.name, sources)
        recordings[other.name] = other
    for whole in COPIED:
        name = f"copied_{whole}"
        encode(COPY + f"-ss 1 -i {{folder}}/{whole} -c copy {{out}}", folder / name, sources)
        recordings[name] = replace(recordings[whole], name=name, fault="cut at 1 s, not decoded", holds=(name,))
    for first, second in JOINED:
        same = first == second
        fault = "two joined" if same else f"joined with {recordings[second].format}, {second}"
        name = f"joined_{len(recordings)}{Path(first).suffix}"
        (folder / name).write_bytes((folder / first).read_bytes() + (folder / second).read_bytes())
        recordings[name] = replace(
            recordings[first], name=name, fault=fault, holds=(first, second), endless=recordings[second].endless
        )
    for fault, wholes, change in FAULTS:
        for whole in wholes:
            name = f"fault_{len(recordings)}{Path(whole).suffix}"
            (folder / name).write_bytes(change((folder / whole).read_bytes()))
            endless = recordings[whole].endless or fault.startswith(("announces", "never closed", "cut in"))
            recordings[name] = replace(recordings[whole], name=name, fault=fault, endless=endless)
    for source in sources.values():
        source.unlink()
    return list(recordings.values())


def write_source(path: Path, seconds: float, rate: int, channels: int):
    """Write a rising tone with a little noise, quieter in the second channel."""
    times = np.arange(int(seconds * rate)) / rate
    tone = 0.3 * np.sin(2 * np.pi * (200 + 900 * times / seconds) * times)
    noise = 0.01 * np.random.default_rng(0).standard_normal(len(times))
    soundfile.write(path, np.stack([tone + noise, 0.5 * tone - noise], 1)[:, :channels], rate)


def encode(command: str, path: Path, sources: dict[str, Path]):
    """Run an encoder."""
    arguments = [argument.format(out=path, folder=path.parent, **sources) for argument in command.split()]
    piped = "{out}" not in command
    with open(path, "wb") if piped else contextlib.nullcontext() as file:
        subprocess.run(arguments, stdout=file, stderr=subprocess.DEVNULL, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="Where to put the files, and recordings.json, which describes them.")
    parser.add_argument("--seconds", type=float, default=3.0, help="Length of the sound. Default: 3.")
    args = parser.parse_args()
    recordings = make_recordings(args.folder, args.seconds)
    description = json.dumps([asdict(recording) for recording in recordings], indent=1)
    (args.folder / "recordings.json").write_text(description + "\n")
    print(f"{len(recordings)} files in {args.folder}")


if __name__ == "__main__":
    main()
