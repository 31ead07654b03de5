"""The sets of the two papers: where each comes from, what its files are called, what it may be used for.

`SOURCES` is the one table of addresses, digests and layouts. "direct" sets are fetched by `medsr data get NAME`; the
others want an account or an agreement, so you download them and `medsr data import NAME FILE_OR_FOLDER` takes over.
`size` is the HR size of Ahmad et al. 2022 (medical) or Saharia et al. 2021 (faces, photographs); `data_fetch.protocol`
says how an image gets there. CHASE_DB1 is in neither paper and is treated like DRIVE and STARE (ours).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Archive:
    """One file as its provider hands it out."""

    file: str
    urls: tuple[str, ...] = ()  # the provider's, then mirrors; none: bring your own
    digest: str | None = None  # "sha256:..." or "md5:..."; None: that of the first download is kept (see `pinned`)
    pinned: bool = True  # False: the server packs the archive anew for everyone, so no two are equal


@dataclass(frozen=True)
class Source:
    """One set. `image` finds an image in a path within the archives; its named groups:

    subject : what must not be on both sides of a split
    test : matches if the image belongs to the official test part (then train and validation are drawn from the rest)
    contrast : of a volume, when each contrast is a file of its own
    """

    name: str
    title: str
    archives: tuple[Archive, ...]
    volume: str  # to download, in words
    room: int  # bytes needed on disk while it is fetched: archives and files
    how: str  # how to come by it, for those without a direct download
    page: str
    licence: str
    terms: str
    citation: str
    layout: str  # what its files are called, for people
    image: str
    size: tuple[int, int]  # HR rows, columns
    expected: tuple[str, ...] | int | None  # names of all images (file names without extension), or their number
    kind: str = "photograph"  # or "volume" or "ultrasound"
    rule: str = "medical"  # how a photograph gets to `size`: "medical" or "sr3" (see protocol.photograph)
    mask: str | None = None  # vessel masks; the group `image` is what an image's name begins with
    contrasts: tuple[str, ...] = ()  # of a four-dimensional volume, in order
    nested: bool = False  # archives inside the archive are unpacked too, each to a folder of its name

    @property
    def direct(self) -> bool:
        """Whether it can be fetched without an account."""
        return any(archive.urls for archive in self.archives)

    @property
    def upright(self) -> bool:
        """Whether its images have a top, see `sets.ImageSet`: faces and ImageNet's photographs do, scans do not."""
        return self.rule == "sr3"


MB, GB = 10**6, 10**9
_S3 = "https://isic-challenge-data.s3.amazonaws.com"
_RESEARCH = "For research and teaching. Do not pass the images on."
_ISIC_PAGE = "https://challenge.isic-archive.com/data/"
_ISIC_IMAGE = r"(?P<subject>ISIC_\d{7})\.jpe?g$"
_ISIC_CITATION = (
    "Codella et al., Skin lesion analysis toward melanoma detection 2018: a challenge hosted by the International Skin "
    "Imaging Collaboration (ISIC), arXiv:1902.03368, 2019; Tschandl et al., The HAM10000 dataset, Sci Data 5:180161, "
    "2018"
)


def _isic(name: str, year: int, file: str, count: int, volume: str, room: int, licence: str, citation: str) -> Source:
    return Source(
        name=name,
        title=f"Dermoscopy, ISIC {year} challenge, training images",
        archives=(Archive(file, (f"{_S3}/{year}/{file}",)),),
        volume=volume,
        room=room,
        how="no account needed",
        page=_ISIC_PAGE,
        licence=licence,
        terms=f"{licence}. Name the ISIC Archive and the contributors, as the citation does.",
        citation=citation,
        layout="ISIC_0000000.jpg and so on, of any size",
        image=_ISIC_IMAGE,
        size=(512, 512),
        expected=count,
    )


_ALL = (
    Source(
        name="drive",
        title="Colour fundus photographs, DRIVE, with vessel masks",
        archives=(
            Archive("training.zip", digest="sha256:7101e19598e2b7aacdbd5e6e7575057b9154a4aaec043e0f4e28902bf4e2e209"),
            Archive("test.zip", digest="sha256:d76c95c98a0353487ffb63b3bb2663c00ed1fde7d8fdfd8c3282c6e310a02731"),
        ),
        volume="30 MB",
        room=100 * MB,
        how="join the challenge at https://drive.grand-challenge.org (free) and download training.zip and test.zip",
        page="https://drive.grand-challenge.org",
        licence="none stated: research, no redistribution",
        terms=_RESEARCH,
        citation="Staal et al., Ridge-based vessel segmentation in color images of the retina, IEEE Trans Med Imaging "
        "23(4):501-509, 2004",
        layout="training/images/21_training.tif to 40, test/images/01_test.tif to 20; masks "
        "training/1st_manual/21_manual1.gif",
        image=r"(?:^|/)images/(?P<subject>\d\d)_(?:training|(?P<test>test))\.tif$",
        mask=r"(?:^|/)1st_manual/(?P<image>\d\d)_manual1\.gif$",
        size=(512, 512),
        expected=(*(f"{n:02d}_test" for n in range(1, 21)), *(f"{n}_training" for n in range(21, 41))),
        nested=True,
    ),
    Source(
        name="stare",
        title="Colour fundus photographs, STARE; vessel masks of 20 of them",
        archives=(
            Archive(
                "all-images.zip",
                (
                    "https://cecas.clemson.edu/~ahoover/stare/images/all-images.zip",
                    "http://cecas.clemson.edu/~ahoover/stare/images/all-images.zip",
                ),
                "sha256:6428ecc394f1b49a7192134990934f62fcd7d36110fd7c344b912dc43925e853",
            ),
            Archive(
                "labels-ah.tar",
                (
                    "https://cecas.clemson.edu/~ahoover/stare/probing/labels-ah.tar",
                    "http://cecas.clemson.edu/~ahoover/stare/probing/labels-ah.tar",
                ),
                "sha256:ebf2f1e17ca955f24579d9edd990e2dae79a5c82def69f0985d8e24f826ddd2f",
            ),
        ),
        volume="0.4 GB",
        room=1 * GB,
        how="no account needed",
        page="https://cecas.clemson.edu/~ahoover/stare/",
        licence="none stated: public",
        terms="Public; cite the paper. Funded by the U.S. National Institutes of Health.",
        citation="Hoover, Kouznetsova and Goldbaum, Locating blood vessels in retinal images by piecewise threshold "
        "probing of a matched filter response, IEEE Trans Med Imaging 19(3):203-210, 2000",
        layout="im0001.ppm to im0402.ppm; masks im0001.ah.ppm.gz",
        image=r"(?:^|/)(?P<subject>im\d{4})\.ppm$",
        mask=r"(?:^|/)(?P<image>im\d{4})\.ah\.ppm(?:\.gz)?$",
        size=(512, 512),
        expected=tuple(f"im{n:04d}" for n in range(1, 403) if n not in (47, 108, 109, 144, 167)),
    ),
    Source(
        name="chase",
        title="Colour fundus photographs of children, CHASE_DB1, with vessel masks",
        archives=(
            Archive(
                "CHASEDB1.zip",
                (
                    "https://researchdata.kingston.ac.uk/96/1/CHASEDB1.zip",
                    "https://staffnet.kingston.ac.uk/~ku15565/CHASE_DB1/assets/CHASEDB1.zip",
                ),
            ),
        ),
        volume="3 MB",
        room=20 * MB,
        how="no account needed",
        page="https://researchdata.kingston.ac.uk/96/",
        licence="CC BY 4.0",
        terms="CC BY 4.0: name the source.",
        citation="Fraz et al., An ensemble classification-based approach applied to retinal blood vessel segmentation, "
        "IEEE Trans Biomed Eng 59(9):2538-2548, 2012",
        layout="Image_01L.jpg to Image_14R.jpg; masks Image_01L_1stHO.png",
        # both eyes of a child are one subject; the last four children are the test part, as is usual
        image=r"(?:^|/)Image_(?P<subject>(?P<test>1[1-4])|\d\d)[LR]\.jpg$",
        mask=r"(?:^|/)(?P<image>Image_\d\d[LR])_1stHO\.png$",
        size=(512, 512),
        expected=tuple(f"Image_{n:02d}{eye}" for n in range(1, 15) for eye in "LR"),
    ),
    _isic(
        "isic", 2018, "ISIC2018_Task1-2_Training_Input.zip", 2594, "10.4 GB", 22 * GB,
        "CC-0 and CC BY-NC 4.0, by image", _ISIC_CITATION,
    ),
    _isic(
        "isic2017", 2017, "ISIC-2017_Training_Data.zip", 2000, "5.8 GB", 12 * GB, "CC-0",
        "Codella et al., Skin lesion analysis toward melanoma detection: a challenge at ISBI 2017, hosted by the "
        "International Skin Imaging Collaboration (ISIC), arXiv:1710.05006, 2017",
    ),
    _isic(
        "isic2019", 2019, "ISIC_2019_Training_Input.zip", 25331, "9.1 GB", 20 * GB, "CC BY-NC 4.0",
        "Tschandl et al., The HAM10000 dataset, Sci Data 5:180161, 2018; Codella et al., arXiv:1710.05006, 2017; "
        "Combalia et al., BCN20000: dermoscopic lesions in the wild, arXiv:1908.02288, 2019",
    ),
    Source(
        name="brats",
        title="Brain MRI with gliomas, BraTS 2020 or 2023: T1, contrast-enhanced T1, T2, FLAIR, axial slices",
        archives=(),
        volume="5 to 15 GB",
        room=30 * GB,
        how="register at https://www.synapse.org/brats and download the training data of 2020 or 2023 (earlier ones "
        "come without an account: medsr data get msd)",
        page="https://www.synapse.org/brats",
        licence="BraTS data use agreement",
        terms="As you agreed with Synapse at registration. " + _RESEARCH,
        citation="Menze et al., The multimodal brain tumor image segmentation benchmark (BRATS), IEEE Trans Med "
        "Imaging 34(10):1993-2024, 2015; Bakas et al., Sci Data 4:170117, 2017; Baid et al., arXiv:2107.02314, 2021",
        layout="2020: BraTS20_Training_001/BraTS20_Training_001_t1.nii.gz, _t1ce, _t2, _flair; 2023: "
        "BraTS-GLI-00000-000/BraTS-GLI-00000-000-t1n.nii.gz, -t1c, -t2w, -t2f",
        # the visits of one patient (BraTS-GLI-00005-000, -001) are one subject
        image=r"(?:^|/)(?P<subject>BraTS-[A-Z]+-\d{5}|[^/]+?)(?:-\d{3})?[_-]"
        r"(?P<contrast>t1ce|t1c|t1n|t1|t2w|t2f|t2|flair)\.nii(?:\.gz)?$",
        size=(240, 240),
        expected=None,
        kind="volume",
    ),
    Source(
        name="msd",
        title="Brain MRI with gliomas, Medical Segmentation Decathlon task 1 (BraTS 2016-17), axial slices",
        archives=(
            Archive(
                "Task01_BrainTumour.tar",
                ("https://msd-for-monai.s3-us-west-2.amazonaws.com/Task01_BrainTumour.tar",),
                "md5:240a19d752f0d9e9101544901065d872",
            ),
        ),
        volume="7.6 GB",
        room=16 * GB,
        how="no account needed",
        page="http://medicaldecathlon.com",
        licence="CC BY-SA 4.0",
        terms="CC BY-SA 4.0: name the source; pass on what you make of it under the same licence.",
        citation="Antonelli et al., The Medical Segmentation Decathlon, Nat Commun 13:4128, 2022; Menze et al., IEEE "
        "Trans Med Imaging 34(10):1993-2024, 2015",
        layout="Task01_BrainTumour/imagesTr/BRATS_001.nii.gz to 484, imagesTs/BRATS_485.nii.gz to 750",
        image=r"(?:^|/)images(?:Tr|(?P<test>Ts))/(?P<subject>BRATS_\d{3})\.nii\.gz$",
        size=(240, 240),
        expected=tuple(f"BRATS_{n:03d}" for n in range(1, 751)),
        kind="volume",
        contrasts=("flair", "t1", "t1gd", "t2"),
    ),
    Source(
        name="camus",
        title="Echocardiograms, CAMUS: two- and four-chamber view, end of diastole and of systole",
        archives=(
            Archive(
                "CAMUS_public.zip",
                (
                    "https://humanheart-project.creatis.insa-lyon.fr/database/api/v1/folder/"
                    "63fde55f73e9f004868fb7ac/download",
                ),
                pinned=False,
            ),
        ),
        volume="2 GB",
        room=5 * GB,
        how="no account needed, or, when the server asks for one, register there and download the database",
        page="https://www.creatis.insa-lyon.fr/Challenge/camus/",
        licence="CAMUS terms: non-commercial",
        terms="Non-commercial research and teaching; cite the paper in all you publish.",
        citation="Leclerc et al., Deep learning for segmentation using an open large-scale dataset in 2D "
        "echocardiography, IEEE Trans Med Imaging 38(9):2198-2210, 2019",
        layout="database_nifti/patient0001/patient0001_2CH_ED.nii.gz, _2CH_ES, _4CH_ED, _4CH_ES; or the same "
        "as .mhd and .raw",
        image=r"(?:^|/)(?P<subject>patient\d{4})_[24]CH_E[DS]\.(?:nii\.gz|nii|mhd)$",
        size=(1024, 512),
        expected=tuple(f"patient{n:04d}_{v}CH_E{p}" for n in range(1, 501) for v in (2, 4) for p in "DS"),
        kind="ultrasound",
    ),
    Source(
        name="ffhq",
        title="Faces, Flickr-Faces-HQ",
        archives=(),
        volume="2 GB (thumbnails128x128) to 90 GB (images1024x1024)",
        room=4 * GB,
        how="download thumbnails128x128 or images1024x1024 from https://github.com/NVlabs/ffhq-dataset (Google Drive, "
        "with a daily quota), and ffhq-dataset-v2.json, which holds the files' digests",
        page="https://github.com/NVlabs/ffhq-dataset",
        licence="CC BY-NC-SA 4.0",
        terms="CC BY-NC-SA 4.0: non-commercial; name the source; same licence. Not for recognising people.",
        citation="Karras, Laine and Aila, A style-based generator architecture for generative adversarial networks, "
        "CVPR 2019",
        layout="thumbnails128x128/00000/00000.png to 69999.png, or images1024x1024/00000/00000.png",
        # 60,000 and later: the authors' validation part
        image=r"(?:^|/)(?P<subject>(?P<test>6\d{4})|[0-5]\d{4})\.png$",
        size=(128, 128),
        expected=tuple(f"{n:05d}" for n in range(70_000)),
        rule="sr3",
    ),
    Source(
        name="celebahq",
        title="Faces, CelebA-HQ (as in CelebAMask-HQ)",
        archives=(),
        volume="3 GB",
        room=8 * GB,
        how="agree to the terms at https://github.com/switchablenorms/CelebAMask-HQ and download CelebAMask-HQ.zip",
        page="https://github.com/switchablenorms/CelebAMask-HQ",
        licence="CelebA agreement: non-commercial research",
        terms="Non-commercial research and teaching. Do not pass the images on.",
        citation="Karras et al., Progressive growing of GANs, ICLR 2018; Lee et al., MaskGAN, CVPR 2020; Liu et al., "
        "Deep learning face attributes in the wild, ICCV 2015",
        layout="CelebA-HQ-img/0.jpg to 29999.jpg",
        image=r"(?:^|/)CelebA-HQ-img/(?P<subject>\d{1,5})\.jpg$",
        size=(128, 128),
        expected=tuple(str(n) for n in range(30_000)),
        rule="sr3",
    ),
    Source(
        name="imagenet",
        title="Photographs, ImageNet 1K (ILSVRC 2012)",
        archives=(
            Archive("ILSVRC2012_img_val.tar", digest="md5:29b22e2961454d5413ddabcf34fc5622"),
            Archive("ILSVRC2012_img_train.tar", digest="md5:1d675b47d978889d74fa0da5fadfb00e"),
            Archive("ILSVRC2012_devkit_t12.tar.gz", digest="md5:fa75699e90414af021442c21a62c3abf"),
        ),
        volume="6.7 GB (val), 148 GB (train)",
        room=14 * GB,
        how="make an account at https://image-net.org and download ILSVRC2012_img_val.tar (and, to train, "
        "ILSVRC2012_img_train.tar)",
        page="https://image-net.org/download.php",
        licence="ImageNet terms: non-commercial",
        terms="Non-commercial research and teaching. Do not pass the images on.",
        citation="Russakovsky et al., ImageNet large scale visual recognition challenge, Int J Comput Vis "
        "115(3):211-252, 2015",
        layout="ILSVRC2012_val_00000001.JPEG to 00050000; n01440764/n01440764_18.JPEG and so on, to train",
        image=r"(?:^|/)(?P<subject>(?P<test>ILSVRC2012_val_\d{8})|n\d{8}_\d+)\.JPEG$",
        size=(256, 256),
        expected=tuple(f"ILSVRC2012_val_{n:08d}" for n in range(1, 50_001)),
        rule="sr3",
        nested=True,
    ),
)  # fmt: skip

SOURCES: dict[str, Source] = {source.name: source for source in _ALL}
