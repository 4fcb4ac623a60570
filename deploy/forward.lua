-- Orthanc sends every study that is complete to LesionLab.
function OnStableStudy(study, tags, metadata)
   RestApiPost('/modalities/lesionlab/store', study)
end
