"""The words that a geometry may use, and what those do that it may not."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


STATEMENTS = _words(
    """
    Point Curve Line Circle Ellipse Spline BSpline CatmullRom Bezier Wire Compound Surface Volume Plane Ruled
    Physical Rectangle Disk Sphere Box Block Cylinder Cone Wedge Torus ThruSections ThickSolid Fillet Chamfer
    Degenerated BooleanUnion BooleanDifference BooleanIntersection BooleanFragments BooleanFuse BooleanCut
    BooleanCommon BooleanCoherence Extrude Translate Rotate Symmetry Dilate Affine Duplicata Boundary
    CombinedBoundary Delete Recursive Coherence Hide Show Transfinite TransfQuadTri TransfQuadtri TransfquadTri
    Recombine Smoother Periodic Reverse ReverseMesh MeshAlgorithm MeshSize MeshSizeFromBoundary Characteristic
    Background BoundaryLayer Elliptic
    """
)
"""Words that may begin a statement; those with rules of their own are in `script`."""

BLOCKS = _words(
    """
    Extrude Translate Rotate Symmetry Dilate Affine Duplicata Boundary CombinedBoundary Delete Recursive Hide Show
    BooleanUnion BooleanDifference BooleanIntersection BooleanFragments BooleanFuse BooleanCut BooleanCommon
    BooleanCoherence Fillet Chamfer
    """
)
"""Words that begin statements which may end in a brace instead of a semicolon."""

FUNCTIONS = _words(
    """
    Acos ArcCos Asin ArcSin Atan ArcTan Atan2 ArcTan2 Ceil Cos Cosh Exp Fabs Abs Fmod Floor Hypot Log Log10 Max Min
    Modulo Rand Round Sin Sinh Sqrt Step Tan Tanh LinSpace LogSpace Unique List Catenary Mass CenterOfMass
    BoundingBox Str StrCat Sprintf
    """
)
"""Functions of numbers, lists and texts."""

TEXT_FUNCTIONS = _words("Str StrCat Sprintf")
"""Those of them that make texts."""

CONSTANTS = _words(
    """
    Pi newp newl newc newll newcl news newsl newv newreg newf GMSH_MAJOR_VERSION GMSH_MINOR_VERSION
    GMSH_PATCH_VERSION
    """
)
"""Numbers with a name."""

INNER = _words(
    """
    Loop In Using Progression Bump Beta Left Right Alternate AlternateRight AlternateLeft Layers ScaleLastLayer
    QuadTriAddVerts QuadTriNoNewVerts QuadTriDbl QuadTriSngl RecombLaterals Parent Hole Length Field Sewing Wire
    Holes PointsOf Geometry Mesh
    """
)
"""Words inside statements."""

CONTINUING = _words(
    """
    Using In Delete
    """
)
"""Words that continue a statement after a brace."""

FIELDS = _words(
    """
    AttractorAnisoCurve Attractor Ball BoundaryLayer Box Constant Curvature Cylinder Distance Extend Frustum
    Gradient IntersectAniso Laplacian LonLat MathEval MathEvalAniso Max MaxEigenHessian Mean Min MinAniso Octree
    Param Restrict Threshold
    """
)
"""Kinds of size fields that compute; the others read files or run programs."""

FIELD_TEXTS = _words(
    """
    F FX FY FZ M11 M12 M13 M22 M23 M33 m11 m12 m13 m22 m23 m33
    """
)
"""Options of fields that are formulas."""

FIELD_NUMBERS = _words(
    """
    AnisoMax AspectRatio Beta BetaLaw Blend CurvesList CurveTag Delta DistMax DistMin DistMin1 DistMax1 EdgesList
    ExcludedFaceList ExcludedSurfacesList FacesList FanNodesList FanPointsList FanPointsSizesList FieldX FieldY
    FieldZ FieldsList FromStereo IField InField InnerR InnerR_inner InnerR_outer InnerV_inner InnerV_outer
    IncludeBoundary InternalDistance IntersectMetrics Kind LcMax LcMin NNodesByEdge NNodes NbLayers NodesList
    NumPointsPerCurve NumSubCurves OuterR_inner OuterR_outer OuterV_inner OuterV_outer Option PointsList Power Quads
    RFactor Radius RadiusStereo RegionsList SampleCount Sampling Sigmoid SizeMax SizeMaxNormal SizeMaxTangent
    SizeMin SizeMinNormal SizeMinTangent SizesList Size Sizes SizeFar StopAtDistMax SurfacesList Thickness
    ThicknessMax VIn VOut VerticesList VolumesList X X1 X2 XAxis XCenter XMax XMin X_NN Y Y1 Y2 YAxis YCenter YMax
    YMin Z Z1 Z2 ZAxis ZCenter ZMax ZMin hfar hwall_n hwall_n_nodes hwall_t ratio thickness dMax dMin lMaxNormal
    lMaxTangent lMinNormal lMinTangent nNodesByEdge
    """
)
"""Options of fields that are numbers and lists."""

FORMULA = _words(
    """
    x y z abs acos asin atan atan2 ceil cos cosh cot exp fabs floor fmod hypot log log10 max min mod pi rint round
    sgn sign sin sinh sqrt step tan tanh
    """
)
"""Names in the formulas of fields, in any case, beside F1, F2, ... for other fields."""

_RUNS = "runs commands"
_READS = "reads another file; write its statements here"
_WRITES = "writes a file, and fvflow stores the mesh itself"
_OUTSIDE = "reads what is outside the file; assign a value instead"
_ONELAB = "talks to other programs; assign a value instead"
_NAMES = "makes names of texts, which cannot be checked; write the name"
_MESHES = "works on a mesh, and fvflow meshes the geometry itself"
_MACROS = "is not expanded; write the statements out, or use a loop"
_STOPS = "stops gmsh or changes its session"
_DRAWS = "is for drawing and post-processing"
_OPTIONS = "sets what is no option of the mesh (it may name files and commands)"

REFUSED = {
    **dict.fromkeys(
        _words(
            """
            SystemCall System NonBlockingSystemCall OnelabRun Plugin PluginS
            """
        ),
        _RUNS,
    ),
    **dict.fromkeys(
        _words(
            """
            Include Merge Open MergeWithBoundingBox AliasFile ListFromFile ShapeFromFile OpenProject
            """
        ),
        _READS,
    ),
    **dict.fromkeys(
        _words(
            """
            Save Print AppendToExistingFile CreateDir SaveAs WriteFile
            """
        ),
        _WRITES,
    ),
    **dict.fromkeys(
        _words(
            """
            GetEnv FileExists CurrentDirectory CurrentDir CurrentFileName AbsolutePath DirName FixRelativePath Today
            StrRelative StrPrefix GmshExecutableName Cpu Memory TotalMemory Exists
            """
        ),
        _OUTSIDE,
    ),
    **dict.fromkeys(
        _words(
            """
            DefineNumber DefineString SetNumber SetString GetNumber GetString GetValue GetStringValue GetForced
            GetForcedStr UndefineConstant OnelabAction CodeName Struct NameStruct DimNameSpace Append
            """
        ),
        _ONELAB,
    ),
    **dict.fromkeys(
        _words(
            """
            StringToName S2N NameToString N2S StrReplace StrSub StrChoice StrFind StrCmp StrLen LowerCase UpperCase
            LowerCaseIn Find
            """
        ),
        _NAMES,
    ),
    **dict.fromkeys(
        _words(
            """
            RefineMesh OptimizeMesh AdaptMesh RelocateMesh ReorientMesh RecombineMesh RenumberMeshNodes
            RenumberMeshElements CreateTopology CreateGeometry ClassifySurfaces Remesh SetOrder PartitionMesh
            UnpartitionMesh SetPartition SetTag Homology Cohomology Betti Levelset Intersect Split Slide
            """
        ),
        _MESHES,
    ),
    **dict.fromkeys(
        _words(
            """
            Macro Function Call Return
            """
        ),
        _MACROS,
    ),
    **dict.fromkeys(
        _words(
            """
            Exit Abort Quit Sleep Error Warning NewModel SyncModel Clear
            """
        ),
        _STOPS,
    ),
    **dict.fromkeys(
        _words(
            """
            Draw SetChanged View Combine Alias AliasWithOptions CopyOptions Color ColorTable PostView T2 T3
            TextAttributes
            """
        ),
        _DRAWS,
    ),
    **dict.fromkeys(
        _words(
            """
            General Solver PostProcessing Post Fltk Background_Mesh
            """
        ),
        _OPTIONS,
    ),
}
"""Words that are known and not allowed, and what they do."""
