"""The items of two reporting checklists, CLAIM and CLEAR: number, section, topic, what an author must add.

Numbers and order are the checklists' own; topics and additions are put in our own short words. CLAIM: Mongan
et al., Radiol Artif Intell 2020;2(2):e200029, in the 2024 update (Tejani et al., Radiol Artif Intell
2024;6(4):e240300, 44 items). CLEAR: Kocak et al., Insights Imaging 2023;14:75 (58 items). Answers are made
in `checklists.py`; the items of the image biomarker standard are in `ibsi_items.py`.
"""

from __future__ import annotations

from typing import Final

from lesionlab.report.ibsi_items import Item

Rows = tuple[tuple[str, str], ...]
"""Topic and what has to be added."""

CLAIM_SOURCE: Final = "CLAIM 2024 (doi 10.1148/ryai.240300)"
CLEAR_SOURCE: Final = "CLEAR 2023 (doi 10.1186/s13244-023-01415-8)"

_CLAIM: Final[tuple[tuple[str, Rows], ...]] = (
    (
        "Title and abstract",
        (
            ("Title", "that AI is used, and of which kind"),
            ("Abstract", "design, methods, results and conclusions in brief"),
        ),
    ),
    (
        "Introduction",
        (
            ("Background", "the clinical question and the role meant for the method"),
            ("Aims", "aims and hypotheses"),
        ),
    ),
    (
        "Methods: design",
        (
            ("Direction in time", "prospective or retrospective"),
            ("Goal", "what kind of study: building, testing, feasibility ..."),
        ),
    ),
    (
        "Methods: data",
        (
            ("Sources", "where the cases come from, sites and dates"),
            ("Eligibility", "who was included and who was not"),
            ("Preprocessing", "every step from stored image to input"),
            ("Subsets", "whether parts of the data were picked, and how"),
            ("De-identification", "how patients' identities were removed"),
            ("Missing data", "how missing clinical data or images were handled"),
            ("Acquisition", "scanners and protocols"),
        ),
    ),
    (
        "Methods: reference standard",
        (
            ("Definition", "how the truth was made"),
            ("Rationale", "why that truth"),
            ("Annotators", "who drew it: number, training, tools"),
            ("Test set", "how the test cases were annotated"),
            ("Rater variability", "agreement between and within readers"),
        ),
    ),
    (
        "Methods: partitions",
        (
            ("Assignment", "how cases were given to training, validation and test"),
            ("Separation", "by patient, study or image"),
        ),
    ),
    ("Methods: testing data", (("Sample size", "how many cases were wanted, and why"),)),
    (
        "Methods: model",
        (
            ("Model", "inputs, outputs, layers"),
            ("Software", "libraries with versions"),
            ("Initialisation", "random, or from which other weights"),
        ),
    ),
    (
        "Methods: training",
        (
            ("Training", "augmentation, loss, optimiser, length, hyperparameters"),
            ("Choice of the final model", "which weights were kept, and by what"),
            ("Ensembling", "how several models or predictions were combined"),
        ),
    ),
    (
        "Methods: evaluation",
        (
            ("Metrics", "which, and why"),
            ("Statistics", "tests and intervals"),
            ("Robustness", "how results change with assumptions or inputs"),
            ("Explainability", "how the model's decisions were looked into"),
            ("Internal data", "how it was evaluated on data of the same source"),
            ("External data", "how it was tested on data of another source"),
            ("Registration", "the trial's registration, if it is one"),
        ),
    ),
    (
        "Results: data",
        (
            ("Flow of cases", "numbers included and excluded, with reasons"),
            ("Characteristics", "demography and disease in each partition"),
        ),
    ),
    (
        "Results: performance",
        (
            ("Performance", "metrics with their uncertainty on every partition"),
            ("Diagnostic performance", "estimates with their precision"),
            ("Failures", "what went wrong, in which cases, and why"),
        ),
    ),
    (
        "Discussion",
        (
            ("Limitations", "bias, uncertainty, how far results carry"),
            ("Practice", "what follows for use in the clinic"),
        ),
    ),
    (
        "Other information",
        (
            ("Protocol", "where protocol and technical details can be read"),
            ("Availability", "whether software, model and data can be had"),
            ("Funding", "who paid, and what role they had"),
        ),
    ),
)

_CLEAR: Final[tuple[tuple[str, Rows], ...]] = (
    ("Title", (("Title", "that radiomics is used, and of which kind"),)),
    ("Abstract", (("Abstract", "the study in brief, with its main numbers"),)),
    ("Keywords", (("Keywords", "words under which radiomics is found"),)),
    (
        "Introduction",
        (
            ("Background", "the clinical or scientific setting"),
            ("Why radiomics", "what it may add here"),
            ("Objectives", "aims of the study"),
        ),
    ),
    (
        "Methods: design",
        (
            ("Guidelines", "which checklists were followed"),
            ("Ethics", "approval, consent, data protection"),
            ("Sample size", "how it was determined"),
            ("Nature", "retrospective or prospective, cohort or other"),
            ("Eligibility", "inclusion and exclusion criteria"),
            ("Flowchart of methods", "the technical steps as a figure"),
        ),
    ),
    (
        "Methods: data",
        (
            ("Source", "public or private, sites"),
            ("Overlap", "whether the same patients are in earlier studies"),
            ("Split", "how training and test cases were divided"),
            ("Imaging protocol", "acquisition and reconstruction"),
            ("Other predictors", "clinical and other variables beside radiomics"),
            ("Reference standard", "the outcome that is predicted"),
        ),
    ),
    (
        "Methods: segmentation",
        (
            ("Strategy", "what was drawn, by hand or automatically, with which software"),
            ("Operators", "who drew: number and experience"),
        ),
    ),
    (
        "Methods: preprocessing",
        (
            ("Preprocessing", "every step on the image before features"),
            ("Resampling", "voxel size and interpolation"),
            ("Discretisation", "bins: fixed size or number"),
            ("Image types", "original or filtered"),
        ),
    ),
    (
        "Methods: features",
        (
            ("Extraction", "software and its version"),
            ("Classes", "which families of features"),
            ("Number", "features per region and in all"),
            ("Defaults", "that all other settings are the software's defaults, or which are not"),
        ),
    ),
    (
        "Methods: preparation",
        (
            ("Missing data", "how missing values were handled"),
            ("Class imbalance", "how many of each class, and what was done about it"),
            ("Segmentation reliability", "how stable features are when lesions are drawn again"),
            ("Scaling", "normalisation of features"),
            ("Dimension reduction", "how features were selected"),
        ),
    ),
    (
        "Methods: modelling",
        (
            ("Algorithm", "the model and its software"),
            ("Training and tuning", "hyperparameters and how they were found"),
            ("Confounders", "how they were dealt with"),
            ("Choice of the model", "how the final one was chosen"),
        ),
    ),
    (
        "Methods: evaluation",
        (
            ("Testing", "internal, external, by resampling"),
            ("Metrics", "which, and why"),
            ("Uncertainty", "intervals and how they were found"),
            ("Comparison of models", "tests between models"),
            ("Other methods", "comparison with models without radiomics"),
            ("Interpretability", "how the model's decisions were looked into"),
        ),
    ),
    (
        "Results",
        (
            ("Characteristics", "demography and disease by partition"),
            ("Flow of patients", "eligibility as a figure"),
            ("Features", "their statistics, stability and selection"),
            ("Performance", "of every model"),
            ("Against other methods", "results beside models without radiomics"),
        ),
    ),
    (
        "Discussion",
        (
            ("Findings", "the main ones"),
            ("Earlier work", "how this differs from it"),
            ("Practice", "what follows for it"),
            ("Strengths and limitations", "bias, how far results carry"),
        ),
    ),
    (
        "Open science: data",
        (
            ("Images", "where images with their masks can be had"),
            ("Features", "where the feature table can be had"),
        ),
    ),
    (
        "Open science: code",
        (
            ("Preprocessing", "where scripts or settings can be had"),
            ("Modelling", "where the modelling code can be had"),
        ),
    ),
    (
        "Open science: model",
        (
            ("Model files", "where the final model can be had"),
            ("Ready-to-use system", "where it can be tried"),
        ),
    ),
)


def _numbered(sections: tuple[tuple[str, Rows], ...]) -> tuple[Item, ...]:
    rows = [(section, topic, add) for section, topics in sections for topic, add in topics]
    return tuple(
        Item(str(number), section, topic, "", add) for number, (section, topic, add) in enumerate(rows, 1)
    )


CLAIM_ITEMS: Final = _numbered(_CLAIM)
CLEAR_ITEMS: Final = _numbered(_CLEAR)
